//! RSA keys that can be factored, and keys in a form of their own. CA/Browser Forum BR §6.1.1.3 and §6.1.6 ask for these checks.

use num_bigint::BigUint;

use crate::algorithm::{self, Curve, KeyKind, MIN_RSA_BITS, split_spki};
use crate::der::{self, Reader, Writer};

/// Longest RSA modulus, in bits, that is issued for: what the verifiers of TLS accept.
const MAX_RSA_BITS: u32 = 8192;
/// Primes below this must not divide a modulus (BR §6.1.6).
const SMALL_FACTORS_BELOW: u64 = 752;
/// Rounds of Fermat's method (BR §6.1.1.3): two primes closer than this finds are found by anybody.
const FERMAT_ROUNDS: u32 = 100;
/// The primes whose residues betray the generator of Infineon's library (ROCA, CVE-2017-15361).
const ROCA_PRIMES_BELOW: u64 = 168;

/// What is wrong with the numbers of an RSA key, to follow "the RSA key".
pub(crate) fn rsa_problem(spki: &[u8]) -> Option<&'static str> {
    let Some((modulus, exponent)) = rsa_numbers(spki) else { return Some("cannot be read") };
    let n = BigUint::from_bytes_be(modulus);
    if n.bits() > u64::from(MAX_RSA_BITS) {
        return Some("has more than 8192 bits, which verifiers refuse");
    }
    if let Some(problem) = exponent_problem(exponent) {
        return Some(problem);
    }
    let primes: Vec<u64> = (2..SMALL_FACTORS_BELOW).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0)).collect();
    if primes.iter().any(|&prime| rest(modulus, prime) == 0) {
        return Some("has a prime factor below 752");
    }
    let roca = primes.iter().filter(|&&prime| prime > 2 && prime < ROCA_PRIMES_BELOW);
    if roca.into_iter().all(|&prime| is_power_of_65537(rest(modulus, prime), prime)) {
        return Some("has the fingerprint of a generator whose keys can be factored (ROCA, CVE-2017-15361)");
    }
    has_close_primes(&n).then_some("is the product of two primes close together, which Fermat's method finds")
}

fn exponent_problem(exponent: &[u8]) -> Option<&'static str> {
    match &exponent[exponent.iter().take_while(|&&digit| digit == 0).count()..] {
        [] | [1] => Some("has the exponent 1, with which everything is its own signature"),
        [.., last] if last % 2 == 0 => Some("has an even exponent"),
        // More than verifiers accept; BR §6.1.6 allows up to 256 bits.
        [_, _, _, _, _, ..] => Some("has an exponent of more than 32 bits, which verifiers refuse"),
        _ => None,
    }
}

/// Does the verifier take keys with numbers of this size?
pub(super) fn is_verifiable(kind: &KeyKind, spki: &[u8]) -> bool {
    match kind {
        KeyKind::Rsa { bits } => {
            (MIN_RSA_BITS..=MAX_RSA_BITS).contains(bits) && rsa_numbers(spki).is_some_and(|(_, e)| exponent_problem(e).is_none())
        }
        _ => true,
    }
}

fn rsa_numbers(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, key) = split_spki(spki)?;
    let mut outer = Reader::new(key);
    let mut numbers = outer.inside(der::SEQUENCE)?;
    let (modulus, exponent) = (numbers.tagged(der::INTEGER)?.value, numbers.tagged(der::INTEGER)?.value);
    (outer.is_empty() && numbers.is_empty()).then_some((modulus, exponent))
}

/// `digits` modulo a small number.
fn rest(digits: &[u8], modulus: u64) -> u64 {
    digits.iter().fold(0, |rest, &digit| ((rest << 8) | u64::from(digit)) % modulus)
}

/// Is `value` in the subgroup that 65537 generates modulo this prime?
fn is_power_of_65537(value: u64, prime: u64) -> bool {
    let generator = 65_537 % prime;
    let mut power = 1;
    loop {
        if power == value {
            return true;
        }
        power = power * generator % prime;
        if power == 1 {
            return false;
        }
    }
}

/// Fermat: n = a² − b² with a just above √n.
fn has_close_primes(n: &BigUint) -> bool {
    let mut a = n.sqrt();
    if &(&a * &a) < n {
        a += 1u32;
    }
    let mut difference = &a * &a - n;
    for _ in 0..FERMAT_ROUNDS {
        if is_square(&difference) {
            return true;
        }
        // (a + 1)² = a² + 2a + 1
        difference += &a * 2u32 + 1u32;
        a += 1u32;
    }
    false
}

fn is_square(n: &BigUint) -> bool {
    // Squares have few of the residues modulo 64, 63, 65 and 11, and a root is dear.
    let is_residue = |modulus: u32| {
        let rest = n % modulus;
        (0..modulus).any(|x| BigUint::from(x * x % modulus) == rest)
    };
    [64, 63, 65, 11].into_iter().all(is_residue) && {
        let root = n.sqrt();
        &(&root * &root) == n
    }
}

/// Is the key written in the one way that its standard gives (RFC 3279 §2.3.1, RFC 5480 §2, RFC 8410 §4)? Two encodings of one key would have
/// two fingerprints, and lists of keys would not find it.
pub(super) fn is_canonical(kind: &KeyKind, spki: &[u8]) -> bool {
    let Some((_, key)) = split_spki(spki) else { return false };
    let mut writer = Writer::with_capacity(spki.len() + 16);
    writer.nest(der::SEQUENCE, |w| {
        w.nest(der::SEQUENCE, |w| match kind {
            KeyKind::Rsa { .. } => {
                w.put(der::OID, algorithm::RSA);
                w.put(der::NULL, &[]);
            }
            KeyKind::Ecdsa { curve } => {
                w.put(der::OID, algorithm::EC_PUBLIC_KEY);
                w.put(
                    der::OID,
                    match curve {
                        Curve::P384 => algorithm::P384,
                        Curve::P521 => algorithm::P521,
                        Curve::P256 | Curve::Other { .. } => algorithm::P256,
                    },
                );
            }
            KeyKind::Ed25519 | KeyKind::Other(_) => w.put(der::OID, algorithm::ED25519),
        });
        match (kind, rsa_numbers(spki)) {
            (KeyKind::Rsa { .. }, Some((modulus, exponent))) => {
                let mut numbers = Writer::with_capacity(key.len() + 8);
                numbers.nest(der::SEQUENCE, |w| {
                    w.unsigned(modulus);
                    w.unsigned(exponent);
                });
                w.octet_aligned_bits(&numbers.into_bytes());
            }
            _ => w.octet_aligned_bits(key),
        }
    });
    let shape = match kind {
        KeyKind::Ecdsa { curve: Curve::P256 } => key.len() == 65 && key[0] == 4,
        KeyKind::Ecdsa { curve: Curve::P384 } => key.len() == 97 && key[0] == 4,
        KeyKind::Ecdsa { curve: Curve::P521 } => key.len() == 133 && key[0] == 4,
        KeyKind::Ed25519 => key.len() == 32,
        _ => true,
    };
    shape && writer.into_bytes() == spki
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn exponents() {
        let check = |exponent: &[u8], good: bool| assert_eq!(exponent_problem(exponent).is_none(), good, "{exponent:?}");
        check(&[3], true);
        check(&[1, 0, 1], true);
        check(&[0, 0xff, 0xff, 0xff, 0xff], true);
        check(&[1], false);
        check(&[0, 1], false);
        check(&[], false);
        check(&[0], false);
        check(&[2], false);
        check(&[1, 0, 0], false);
        check(&[1, 0, 0, 0, 1], false);
    }

    #[test]
    fn squares_and_rests() {
        let number = |text: &str| BigUint::parse_bytes(text.as_bytes(), 10).unwrap();
        for (text, square) in
            [("0", true), ("1", true), ("2", false), ("144", true), ("145", false), ("152415787532388367501905199875019052100", true)]
        {
            assert_eq!(is_square(&number(text)), square, "{text}");
        }
        assert_eq!(rest(&[1, 0, 0], 751), 65_536 % 751);
        // 65537 = 3855 · 17 + 2, and 2 has order 8.
        let powers: Vec<u64> = (1..17).filter(|&value| is_power_of_65537(value, 17)).collect();
        assert_eq!(powers, [1, 2, 4, 8, 9, 13, 15, 16]);
        assert!(!has_close_primes(&number("8051000000000000000000000000000000000000000000000000000000117")));
        // 10007 · 10009
        assert!(has_close_primes(&number("100160063")));
    }
}
