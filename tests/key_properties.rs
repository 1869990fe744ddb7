//! Laws of keys.

use proptest::prelude::*;
use tower_inbox::key::{KeyEncoder, KeyField, KeyHasher, Secret, Xxh64Keyed};

/// One field value of any type that an encoding knows.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    None,
    Bool(bool),
    Natural(u128),
    Negative(i128),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Map(std::collections::BTreeMap<String, Value>),
}

impl KeyField for Value {
    fn encode(&self, encoder: &mut KeyEncoder) {
        match self {
            Self::None => encoder.none(),
            Self::Bool(value) => encoder.field(value),
            Self::Natural(value) => encoder.field(value),
            Self::Negative(value) => encoder.field(value),
            Self::Text(value) => encoder.field(value),
            Self::Bytes(value) => encoder.bytes(value),
            Self::List(values) => encoder.field(values),
            Self::Map(entries) => encoder.field(entries),
        };
    }
}

fn value() -> impl Strategy<Value = Value> {
    let natural = prop_oneof![any::<u128>(), any::<u64>().prop_map(u128::from), 0..4_u128];
    let negative = prop_oneof![i128::MIN..0, (i64::MIN..0).prop_map(i128::from), -4..0_i128];
    // Text and bytes that look like tags, lengths and each other.
    let tricky = prop_oneof![
        any::<String>(),
        proptest::collection::vec(prop_oneof![Just('\0'), Just('\u{3}'), Just('a')], 0..12)
            .prop_map(String::from_iter),
    ];
    let leaf = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        natural.prop_map(Value::Natural),
        negative.prop_map(Value::Negative),
        tricky.clone().prop_map(Value::Text),
        tricky.clone().prop_map(|text| Value::Bytes(text.into_bytes())),
    ];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            proptest::collection::btree_map(tricky.clone(), inner, 0..4).prop_map(Value::Map),
        ]
    })
}

fn fields() -> impl Strategy<Value = (String, Vec<Value>)> {
    (prop_oneof![Just(String::new()), any::<String>()], proptest::collection::vec(value(), 1..4))
}

fn encoding((kind, fields): &(String, Vec<Value>)) -> Vec<u8> {
    let mut encoder = KeyEncoder::new(kind);
    for field in fields {
        encoder.field(field);
    }
    encoder.finish().as_bytes().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_different_field_lists_never_share_an_encoding(one in fields(), other in fields()) {
        prop_assert_eq!(one == other, encoding(&one) == encoding(&other));
    }

    #[test]
    fn neighbours_never_share_an_encoding(list in fields(), at in any::<prop::sample::Index>(), new in value()) {
        // Random pairs are far apart; these differ in one field, one boundary or one nesting.
        let mut changed = list.clone();
        let at = at.index(changed.1.len());
        changed.1[at] = new;
        prop_assert_eq!(list == changed, encoding(&list) == encoding(&changed));
        let mut longer = list.clone();
        longer.1.push(Value::None);
        prop_assert_ne!(encoding(&list), encoding(&longer));
        let nested = (list.0.clone(), vec![Value::List(list.1.clone())]);
        prop_assert_ne!(encoding(&list), encoding(&nested));
    }

    #[test]
    fn only_lists_of_nothing_are_absent(list in fields()) {
        let mut encoder = KeyEncoder::new(&list.0);
        for field in &list.1 {
            encoder.field(field);
        }
        let nothing = list.1.iter().all(|field| *field == Value::None);
        prop_assert_eq!(encoder.finish().is_absent(), nothing);
    }
}

/// Chi-square over a million keys like real ones: consecutive numbers and addresses. Each byte of
/// either half is uniform; with 255 degrees of freedom the statistic stays below 400 with a chance
/// of better than one in ten million per byte (mean 255, standard deviation 22.6).
#[test]
fn both_halves_of_a_million_keys_are_uniform() {
    let secret = Secret::from_bytes(*b"chi-square-test!");
    let mut counts = [[0_u32; 256]; 16];
    for order in 0..1_000_000_u64 {
        let mut encoder = KeyEncoder::new("OrderPlaced");
        encoder.field(&order).field(&format!("user{}@example.com", order % 50_000));
        let key = Xxh64Keyed.key(encoder.finish().as_bytes(), &secret);
        for (counts, byte) in counts.iter_mut().zip(key.as_bytes()) {
            counts[usize::from(*byte)] += 1;
        }
    }
    let expected = 1_000_000.0 / 256.0;
    for (position, counts) in counts.iter().enumerate() {
        let chi_square: f64 =
            counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
        assert!(chi_square < 400.0, "byte {position}: {chi_square}");
        assert!(chi_square > 140.0, "byte {position} is too even: {chi_square}");
    }
}
