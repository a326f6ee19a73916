//! Where a secret lives, as associated data.

/// Where sealed bytes belong. The caller says it from its own rows, both when sealing and when opening, so that bytes
/// moved to another row, another version or another store do not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Id of the store.
    pub store: &'a str,
    /// Id of the secret inside the store.
    pub secret: i64,
    /// Number of the version.
    pub version: i64,
    /// Id of the instance.
    pub instance: i64,
    /// What the bytes are for, such as `private-key`.
    pub purpose: &'static str,
}

/// Which of the three layers a tag belongs to, so that no layer's bytes pass for another's.
#[derive(Clone, Copy)]
pub(crate) enum Layer {
    /// A KEK under a provider's key.
    Kek = 1,
    /// A DEK under a KEK.
    Dek = 2,
    /// A secret under a DEK.
    Content = 3,
}

/// Changes with the meaning of what follows it; old ciphertexts then need the old encoder.
const CONTEXT: &[u8] = b"perennial/envelope/1";

/// Associated data under construction. Every field carries its length, so no two lists of fields give the same bytes.
pub(crate) struct Bound(Vec<u8>);

impl Bound {
    pub(crate) fn new(layer: Layer) -> Self {
        Bound(Vec::with_capacity(160)).bytes(CONTEXT).bytes(&[layer as u8])
    }

    pub(crate) fn bytes(mut self, field: &[u8]) -> Self {
        self.0.extend_from_slice(&(field.len() as u64).to_be_bytes());
        self.0.extend_from_slice(field);
        self
    }

    pub(crate) fn number(self, field: i64) -> Self {
        self.bytes(&field.to_be_bytes())
    }

    pub(crate) fn place(self, place: &Place<'_>) -> Self {
        self.bytes(place.store.as_bytes()).number(place.secret).number(place.version).number(place.instance).bytes(place.purpose.as_bytes())
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place<'static> = Place { store: "s", secret: 1, version: 2, instance: 3, purpose: "key" };

    #[test]
    fn the_encoding_is_pinned() {
        // Stored ciphertexts depend on these bytes: whoever changes them must raise CONTEXT and keep the old encoder.
        let bytes = Bound::new(Layer::Content).place(&HERE);
        assert_eq!(
            hex::encode(bytes.as_slice()),
            concat!(
                "0000000000000014",
                "706572656e6e69616c2f656e76656c6f70652f31",
                "000000000000000103",
                "000000000000000173",
                "00000000000000080000000000000001",
                "00000000000000080000000000000002",
                "00000000000000080000000000000003",
                "00000000000000036b6579",
            )
        );
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let split = |a: &str, b: &str| Bound::new(Layer::Dek).bytes(a.as_bytes()).bytes(b.as_bytes()).0;
        assert_ne!(split("ab", "c"), split("a", "bc"));
        assert_ne!(split("", "abc"), split("abc", ""));
        assert_ne!(Bound::new(Layer::Dek).0, Bound::new(Layer::Content).0);
    }
}
