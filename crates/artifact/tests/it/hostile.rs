//! Builds that want to harm whoever looks into them, and those that are merely broken.

use std::{cell::Cell, fs, io::Read, path::Path, time::Duration};

use artifact::{Limits, Source, scan};

use crate::support::{
    REGULAR, Steps, cert_pem, cpio, findings, gzip, have, header, key_pem, paper, rpm, sh, sign, tar, tar_open, within, word, words,
    words_of, words_of_file, zip, zipped,
};

#[test]
fn ten_thousand_layers() {
    // Stored, with sums that are never reached: packing so often would take longer than everything else.
    let stored = |inner: &[u8]| {
        let mut out = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
        for block in inner.chunks(0xffff) {
            let length = u16::try_from(block.len()).unwrap();
            out.push(0);
            out.extend([length.to_le_bytes(), (!length).to_le_bytes()].concat());
            out.extend(block);
        }
        [out, b"\x01\0\0\xff\xff".to_vec(), vec![0; 8]].concat()
    };
    let packed = (0..10_000).fold(cert_pem().into_bytes(), |inner, _| stored(&inner));
    let after = tar(&[("deep", &packed), ("after.pem", cert_pem().as_bytes())]);
    let expected = ["!deep: ! too-deep", "!after.pem: CN=one.example pem"];
    assert_eq!(words_of(&after), expected);
    assert_eq!(words_of_file(&after), expected);

    // Headers that each hold all the rest.
    let mut tars = Vec::new();
    for level in 0..10_000u64 {
        tars.extend(header("t", b'0', (9_999 - level) * 512));
    }
    let got = words_of(&tars);
    assert_eq!(got.len(), 1, "{got:?}");
    assert!(got[0].ends_with(": ! too-deep") && got[0].len() < 100, "{got:?}");

    let mut zips = cert_pem().into_bytes();
    for _ in 0..500 {
        zips = zip(&[zipped("z", &zips)]);
    }
    let got = words_of_file(&zips);
    assert!(got.len() == 1 && got[0].ends_with(": ! too-deep"), "{got:?}");
}

#[test]
fn just_as_deep_as_the_limit() {
    let limits = Limits { depth: 3, ..Limits::default() };
    let nest = |levels: usize| (0..levels).fold(cert_pem().into_bytes(), |inner, _| gzip(&inner));
    assert_eq!(within(&nest(3), &limits).0, [": CN=one.example pem"]);
    assert_eq!(within(&nest(4), &limits).0, [": ! too-deep"]);
}

/// A reader of zeros that end.
fn zeros(count: u64) -> impl Read {
    std::io::repeat(0).take(count)
}

#[test]
fn bombs_are_told_and_the_rest_is_looked_at() {
    let limits = Limits { ratio_free_bytes: 1024 * 1024, ..Limits::default() };
    let folder = tempfile::tempdir().unwrap();
    let mut bombs = Vec::new();
    let mut encoder = flate2::read::GzEncoder::new(zeros(16 * 1024 * 1024), flate2::Compression::best());
    let mut bomb = Vec::new();
    encoder.read_to_end(&mut bomb).unwrap();
    bombs.push(bomb);
    for (tool, line) in [
        ("zstd", "zstd -q -19 < zeros > x"),
        ("xz", "xz -1 < zeros > x"),
        ("bzip2", "bzip2 < zeros > x"),
        ("zip", "zip -q -9 x.zip zeros; mv x.zip x"),
    ] {
        if have(tool, "a bomb") {
            sh(folder.path(), &format!("truncate -s 16M zeros; {line}"));
            bombs.push(fs::read(folder.path().join("x")).unwrap());
        }
    }
    for bomb in bombs {
        assert!(bomb.len() < 100_000);
        let around = tar(&[("before.pem", cert_pem().as_bytes()), ("bomb", &bomb), ("after.pem", cert_pem().as_bytes())]);
        let (got, summary) = within(&around, &limits);
        let bomb = if bomb.starts_with(b"PK") { "!bomb!zeros" } else { "!bomb" };
        assert_eq!(got, ["!before.pem: CN=one.example pem".into(), format!("{bomb}: ! bomb"), "!after.pem: CN=one.example pem".into()]);
        assert!(summary.bytes < 12 * 1024 * 1024, "{summary:?}");
        // What is not held against the ratio is what the limit says.
        assert_eq!(within(&around, &Limits::default()).0.len(), 2);
        let small = Limits { stream_bytes: 1024 * 1024, ..Limits::default() };
        assert_eq!(within(&around, &small).0[1], format!("{bomb}: ! too-large"));
    }
}

/// Sizes that are only claimed cost nothing, and links of a tar are never followed, whatever they say about themselves.
#[test]
fn holes_and_links_in_a_tar_cost_nothing() {
    let pem = cert_pem();
    // One byte at the end of an exabyte of nothing, in GNU's old format.
    let mut sparse = header("sparse", b'S', 1);
    sparse[386..398].copy_from_slice(b"\x80\0\0\0\x0f\xff\xff\xff\xff\xff\xff\xff");
    sparse[398..410].copy_from_slice(b"00000000001\0");
    sparse[483..495].copy_from_slice(b"\x80\0\0\0\x10\0\0\0\0\0\0\0");
    sign(&mut sparse);
    let mut archive = sparse;
    archive.extend(vec![b'x'; 512]);
    for (name, to) in [("a", "b"), ("b", "a"), ("self", "self"), ("up", "../../../../etc"), ("root", "/")] {
        let mut link = header(name, b'2', 1 << 40);
        link[157..157 + to.len()].copy_from_slice(to.as_bytes());
        sign(&mut link);
        archive.extend(link);
    }
    archive.extend(tar(&[("a/a/a/x.pem", pem.as_bytes())]));
    let (got, summary) = within(&archive, &Limits::default());
    assert_eq!(got, ["!a/a/a/x.pem: CN=one.example pem"]);
    assert!(summary.bytes < 64 * 1024, "{summary:?}");
}

#[test]
fn a_zip_whose_entries_share_their_bytes() {
    // Two thousand names for one entry's data.
    let data = gzip(&vec![0; 1_000_000]);
    let whole = zip(&[zipped("aaaa", &data), zipped("bbbb", cert_pem().as_bytes())]);
    let start = whole.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    let end = whole.windows(4).position(|window| window == b"PK\x05\x06").unwrap();
    let (first, second) = whole[start..end].split_at((end - start) / 2);
    let directory = [first.repeat(2000), second.to_vec()].concat();
    let mut bomb = [&whole[..start], &directory, &whole[end..]].concat();
    let at = bomb.len() - 22;
    bomb[at + 8..at + 12].copy_from_slice(&[0xd1, 7, 0xd1, 7]);
    bomb[at + 12..at + 16].copy_from_slice(&u32::try_from(directory.len()).unwrap().to_le_bytes());
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x"), &bomb).unwrap();
    let (found, summary) = findings(&folder.path().join("x"), &Limits::default(), &[]);
    let words: Vec<_> = found.iter().map(|one| word(one, &folder.path().join("x").to_string_lossy())).collect();
    assert_eq!(words, ["!bbbb: CN=one.example pem", "!aaaa: ! disagreement"]);
    assert!(summary.bytes < 2_000_000, "{summary:?}");
}

#[test]
fn what_only_one_reader_of_a_zip_would_see() {
    let (cert, key) = (cert_pem(), key_pem());
    let mut hidden = zipped("hidden.key", key.as_bytes());
    hidden.listed = None;
    let shown = zipped("shown.pem", cert.as_bytes());
    let both = ["!hidden.key: clear PKCS#8 pem", "!shown.pem: CN=one.example pem", ": ! hidden-entry"];
    for entries in [[hidden, shown], [shown, hidden]] {
        let mut got = words_of_file(&zip(&entries));
        got.sort();
        assert_eq!(got, both);
    }
    let mut renamed = shown;
    renamed.listed = Some("other.txt");
    assert_eq!(words_of_file(&zip(&[renamed])), ["!other.txt: CN=one.example pem", "!other.txt: ! disagreement"]);
    // What follows the data and stands before the directory.
    let plain = zip(&[shown]);
    let at = plain.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    let mut padded = [&plain[..at], key.as_bytes(), &plain[at..]].concat();
    let end = padded.len() - 6;
    padded[end..end + 4].copy_from_slice(&u32::try_from(at + key.len()).unwrap().to_le_bytes());
    assert_eq!(words_of_file(&padded), ["!shown.pem: CN=one.example pem", ": clear PKCS#8 pem"]);
}

#[test]
fn encrypted_archives_are_told_once() {
    let pem = cert_pem();
    let mut secret = zipped("a", pem.as_bytes());
    secret.flags = 1;
    let mut other = secret;
    (other.name, other.listed) = ("b", Some("b"));
    let archive = zip(&[secret, other, zipped("c", pem.as_bytes())]);
    assert_eq!(words_of_file(&archive), ["!c: CN=one.example pem", "!a: ! encrypted"]);
    let limits = Limits { buffered_zip_bytes: 10, ..Limits::default() };
    assert_eq!(within(&archive, &limits).0, [": ! not-compared", "!c: CN=one.example pem", "!a: ! encrypted"]);
    if have("zip", "an encrypted zip") {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("k"), key_pem()).unwrap();
        sh(folder.path(), "zip -qe -P pw x.zip k");
        assert_eq!(words(&folder.path().join("x.zip")), ["!k: ! encrypted"]);
    }
}

/// Cut off after any byte: never a panic, never silence, and what came before counts.
#[test]
fn cut_off_anywhere() {
    let pem = cert_pem();
    let der = paper().certificate.der();
    let folder = tempfile::tempdir().unwrap();
    let mut wholes = vec![
        ("tar", tar_open(&[("a.pem", pem.as_bytes()), ("b.der", der)])),
        ("zip", zip(&[zipped("a.pem", pem.as_bytes()), zipped("b.der", der)])),
        ("gzip", gzip(&tar(&[("a.pem", pem.as_bytes())]))),
        ("ar", format!("!<arch>\n{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n{pem}", "a.pem", 0, 0, 0, 644, pem.len()).into_bytes()),
        ("der", der.to_vec()),
    ];
    fs::write(folder.path().join("t"), tar(&[("a.pem", pem.as_bytes())])).unwrap();
    let files = [("a.pem", REGULAR, pem.as_bytes()), ("b.der", REGULAR, der)];
    wholes.push(("cpio", cpio(&files)));
    wholes.push(("rpm", rpm(&gzip(&cpio(&files)))));
    for (tool, line) in [("zstd", "zstd -q < t > x"), ("xz", "xz < t > x"), ("bzip2", "bzip2 < t > x")] {
        if have(tool, "streams that are cut off") {
            sh(folder.path(), line);
            wholes.push((tool, fs::read(folder.path().join("x")).unwrap()));
        }
    }
    for (name, whole) in wholes {
        assert!(words_of(&whole).iter().all(|word| !word.contains('!') || word.contains("CN=")), "{name}: {:?}", words_of(&whole));
        for cut in 8..whole.len() {
            let got = words_of(&whole[..cut]);
            let told = got.iter().any(|word| word.contains(": ! "));
            // A tar and an ar may end after any entry; the end of a tar is not required.
            let may_end = match name {
                "tar" => cut % 512 == 0 || cut < 512 || got.len() == 2 || (512 + pem.len()..1536).contains(&cut),
                "ar" => cut >= whole.len() || cut < 10,
                "der" => cut < 12,
                // What fills up the last name.
                "cpio" => got.len() == 2 && cut > whole.len() - 4,
                "zip" => got.len() == 2 && !told && cut > whole.len() - 22,
                "xz" => cut < 6,
                // Less than its magic.
                "bzip2" => cut < 10,
                _ => false,
            };
            assert!(told || may_end, "{name} cut at {cut}: {got:?}");
        }
        if name == "tar" {
            assert!(words_of(&whole[..1024 + pem.len()])[0].contains("a.pem: CN=one.example"));
        }
    }
}

/// Damage of any one byte: never a panic, and no endless loop.
#[test]
fn one_wrong_byte_anywhere() {
    let pem = cert_pem();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t"), &pem).unwrap();
    let mut wholes = vec![
        tar(&[("a.pem", pem.as_bytes())]),
        zip(&[zipped("a.pem", pem.as_bytes())]),
        gzip(pem.as_bytes()),
        paper().certificate.der().to_vec(),
    ];
    let files = [("a.pem", REGULAR, pem.as_bytes())];
    wholes.extend([cpio(&files), rpm(&gzip(&cpio(&files)))]);
    for (tool, line) in [("zstd", "zstd -q < t > x"), ("xz", "xz < t > x"), ("bzip2", "bzip2 < t > x")] {
        if have(tool, "damaged streams") {
            sh(folder.path(), line);
            wholes.push(fs::read(folder.path().join("x")).unwrap());
        }
    }
    for whole in wholes {
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= [0x01, 0x80, 0xff][at % 3];
            words_of(&damaged);
        }
    }
}

#[test]
fn broken_archives_say_what_is_wrong() {
    let pem = cert_pem();
    let check = |bytes: &[u8], expected: &[&str]| assert_eq!(words_of(bytes), expected);
    // A header that is none, with something behind it.
    let mut broken = tar_open(&[("a.pem", pem.as_bytes()), ("b", b"x"), ("c.pem", pem.as_bytes())]);
    let second = 512 + pem.len().next_multiple_of(512);
    broken[second] = 0xff;
    check(&broken, &["!a.pem: CN=one.example pem", ": ! damaged", "!(trailing bytes): CN=one.example pem"]);
    // Sizes beyond everything.
    for field in [&b"77777777777\0"[..], &[0xff; 12], b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", b"zzzzzzzzzzz\0"] {
        let mut huge = header("a.pem", b'0', 0);
        huge[124..136].copy_from_slice(field);
        sign(&mut huge);
        huge.extend(pem.as_bytes());
        let got = words_of(&huge);
        assert!(got.iter().any(|word| word.contains("! truncated") || word.contains("! damaged")), "{got:?}");
    }
    // Names and pax records without end.
    let mut long = header("x", b'L', 1 << 40);
    long.extend(vec![b'a'; 1000]);
    check(&long, &[": ! damaged"]);
    let mut pax = header("x", b'x', 20);
    pax.extend(b"99999999999 path=a\n");
    pax.resize(1024, 0);
    pax.extend(tar(&[("b.pem", pem.as_bytes())]));
    check(&pax, &["!b.pem: CN=one.example pem"]);
    check(b"PK\x03\x04", &[": ! truncated", ": ! truncated"]);
    check(b"PK\x05\x06", &[": ! truncated"]);
    check(b"!<arch>\nnonsense that is long enough to be the header of a member, is it not", &[": ! damaged"]);
    check(b"7z\xbc\xaf\x27\x1c", &[": ! unsupported"]);
    for format in
        ["Rar!\x1a\x07", "MSCF\0\0\0\0", "hsqs", "\x04\x22\x4d\x18", "LZIP\x01", "\u{89}LZO\0\r\n\x1a\n", "xar!\0", "!<thin>\n", "07070X"]
    {
        let bytes: Vec<u8> = format.chars().map(|c| c as u8).collect();
        check(&bytes, &[": ! unsupported"]);
        // Not silently either where it lies in something else.
        check(&tar(&[("x", &bytes)]), &["!x: ! unsupported"]);
    }
    check(b"BZh91AY&SY\0\0", &[": ! truncated"]);
    check(b"BZh91AY&SYxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", &[": ! damaged"]);
    check(b"070701", &[": ! truncated"]);
    check(&[b"070701".repeat(30), vec![b'x'; 200]].concat(), &[": ! damaged"]);
    check(b"\xed\xab\xee\xdb\x03\0", &[": ! truncated"]);
    let lead = [&b"\xed\xab\xee\xdb\x03\0"[..], &[0; 90]].concat();
    check(&[&lead[..], &[0; 16], pem.as_bytes()].concat(), &[": ! damaged", ": CN=one.example pem"]);
    // Headers that say they are longer than anything.
    check(
        &[&lead[..], b"\x8e\xad\xe8\x01\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", pem.as_bytes()].concat(),
        &["!(header): CN=one.example pem", ": ! truncated"],
    );
    check(b"age-encryption.org/v1\n-> X25519", &[": ! encrypted"]);
    check(b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x05", &[": ! truncated"]);
    check(b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01\0\0\0\x07\0\x01a\0\0\0\0\0\0\0\0", &[": ! damaged"]);
}

#[test]
fn windows_that_are_too_large_are_told() {
    if !have("zstd", "windows of zstd") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    sh(folder.path(), "truncate -s 1G z; zstd -q --long=30 z -o x");
    assert_eq!(words(&folder.path().join("x")), [": ! too-large"]);
}

#[test]
fn limits_of_number_time_and_total() {
    let pem = cert_pem();
    let many: Vec<_> = (0..50).map(|_| ("a.pem", pem.as_bytes())).collect();
    let archive = tar(&many);
    let check = |bytes: &[u8], limits: &Limits, last: &str, count: usize| {
        let (got, _) = within(bytes, limits);
        assert_eq!((got.last().map(String::as_str), got.len()), (Some(last), count));
    };
    check(&archive, &Limits { entries: 10, ..Limits::default() }, ": ! too-many", 11);
    check(&archive, &Limits { findings: 20, ..Limits::default() }, "!a.pem: ! too-many", 21);
    let zipped: Vec<_> = many.iter().map(|(name, data)| zipped(name, data)).collect();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x"), zip(&zipped)).unwrap();
    let (found, _) = findings(&folder.path().join("x"), &Limits { entries: 10, ..Limits::default() }, &[]);
    assert!(found.iter().any(|one| word(one, "").ends_with("! too-many")) && found.len() == 11);
    for n in 0..20 {
        fs::write(folder.path().join(format!("f{n:02}")), &pem).unwrap();
    }
    let (found, _) = findings(folder.path(), &Limits { entries: 10, ..Limits::default() }, &[]);
    assert!(word(found.last().unwrap(), "").ends_with("! too-many") && found.len() == 10, "{}", found.len());

    let large = tar(&[("a.pem", pem.as_bytes()), ("zeros", &vec![0; 4_000_000]), ("b.pem", pem.as_bytes())]);
    check(&large, &Limits { total_bytes: 1_000_000, ..Limits::default() }, ": ! too-large", 2);
    let mut bytes = large.as_slice();
    let mut got = Vec::new();
    let watch = Steps::of(Duration::from_secs(1));
    let limits = Limits { time: Duration::from_secs(3), ..Limits::default() };
    let summary = scan(&mut [Source::Stream { name: "x", bytes: &mut bytes }], &limits, &[], &watch, &mut |finding| {
        got.push(word(&finding, "x"));
        true
    });
    assert_eq!((got, summary.complete), (vec!["!a.pem: CN=one.example pem".into(), ": ! time-over".into()], false));
    for (limits, complete) in [
        (Limits::default(), true),
        (Limits { total_bytes: 1_000_000, ..Limits::default() }, false),
        (Limits { findings: 1, ..Limits::default() }, false),
        // A part that was not looked into is a problem of its own.
        (Limits { depth: 0, ..Limits::default() }, true),
    ] {
        assert_eq!(within(&large, &limits).1.complete, complete, "{limits:?}");
    }
}

#[test]
fn items_that_are_too_large_are_told() {
    let limits = Limits { item_bytes: 4096, ..Limits::default() };
    let mut certificate = vec![0x30, 0x83, 1, 0, 0, 0x30, 0x82, 0xff, 0xff, 0xa0, 3, 2, 1, 2];
    certificate.resize(100_000, 0);
    assert_eq!(within(&certificate, &limits).0, [": ! too-large"]);
    let mut keystore = b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x05".to_vec();
    keystore.resize(10_000, 0);
    assert_eq!(within(&keystore, &limits).0, [": ! too-large"]);
    let long = format!("-----BEGIN CERTIFICATE-----\n{}", "MIIB\n".repeat(200_000));
    within(long.as_bytes(), &limits);
}

#[test]
fn whoever_stops_listening_ends_the_scan() {
    let pem = cert_pem();
    let many: Vec<_> = (0..50).map(|_| ("a.pem", pem.as_bytes())).collect();
    let (archive, count) = (tar(&many), Cell::new(0));
    scan(
        &mut [Source::Stream { name: "x", bytes: &mut archive.as_slice() }],
        &Limits::default(),
        &[],
        &Steps::of(Duration::ZERO),
        &mut |_| {
            count.set(count.get() + 1);
            count.get() < 3
        },
    );
    assert_eq!(count.get(), 3);
}

#[test]
fn nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("work");
    fs::create_dir(&work).unwrap();
    let evil = tar(&[("../../escaped", b"x"), ("/tmp/absolute", b"x"), ("a.pem", cert_pem().as_bytes())]);
    fs::write(work.join("evil.tar"), evil).unwrap();
    let list = |at: &Path| {
        let mut names: Vec<_> = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = (list(folder.path()), list(&work));
    words(&work);
    assert_eq!((list(folder.path()), list(&work)), before);
}

/// A text of nothing but beginnings must not take the square of its length.
#[test]
fn beginnings_without_end() {
    for line in [
        "-----BEGIN CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----",
        " LS0tLS1CRUdJTi",
        "\nMIIDdzCCAl+gAwIBAgIBATANBgkqhkiG9w0BAQsFADAPMQ0wCwYD",
        " MI",
        "MI ",
    ] {
        let text = line.repeat(4 * 1024 * 1024 / line.len());
        assert!(words_of(text.as_bytes()).len() < 10);
    }
}
