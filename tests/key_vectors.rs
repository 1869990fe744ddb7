//! The bytes of the encoding and of keys, as literals: rows of an old release must be recognised.
//!
//! Never edit a line here. A change that makes one fail is a new version of the encoding.

use tower_inbox::key::{
    ByteOrder, InboxKey, KeyEncoder, KeyHasher, Secret, Xxh64Keyed, Xxh64Zeroed,
};

const SECRET: Secret = Secret::from_bytes(*b"0123456789abcdef");

#[test]
fn items_are_encoded_as_documented() {
    let head = "01" /* version */;
    let kind = "0300000000000000" /* length */ .to_owned() + "4f7264" /* Ord */;
    for (bytes, field) in [
        ("00", encoded(&None::<u8>)),
        ("00", encoded(&())),
        ("01", encoded(&false)),
        ("02", encoded(&true)),
        ("030000000000000000", encoded(&0_u8)),
        ("03ff00000000000000", encoded(&255_u8)),
        ("03ffffffffffffffff", encoded(&u64::MAX)),
        ("04ffffffffffffffff", encoded(&-1_i8)),
        ("040000000000000080", encoded(&i64::MIN)),
        ("0500000000000000000100000000000000", encoded(&(1_u128 << 64))),
        ("06ffffffffffffff7fffffffffffffffff", encoded(&(i128::from(i64::MIN) - 1))),
        ("070000000000000000", encoded("")),
        ("0702000000000000006162", encoded("ab")),
        ("070200000000000000c3a9", encoded(&'é')),
        (
            "072400000000000000\
             36376535353034342d313062312d343236662d393234372d626236383065356665306338",
            encoded(&uuid::uuid!("67e55044-10b1-426f-9247-bb680e5fe0c8")),
        ),
        (
            "090200000000000000\
          030100000000000000030200000000000000",
            encoded(&[1_u8, 2]),
        ),
        ("090000000000000000", encoded(&Vec::<u8>::new())),
        (
            "0a0200000000000000\
             07010000000000000061 02\
             07010000000000000062 00",
            encoded(&std::collections::HashMap::from([("b", None), ("a", Some(true))])),
        ),
    ] {
        let expected = format!("{head}{kind}{}", bytes.replace(' ', ""));
        assert_eq!(field, expected);
    }
    let mut encoder = KeyEncoder::new("Ord");
    encoder.bytes(&[0xff, 0]);
    assert_eq!(hex(encoder.finish().as_bytes()), format!("{head}{kind}080200000000000000ff00"));
}

#[test]
fn integers_of_all_widths_and_options_encode_alike() {
    for other in [
        encoded(&7_u8),
        encoded(&7_u16),
        encoded(&7_u32),
        encoded(&7_usize),
        encoded(&7_i8),
        encoded(&7_i16),
        encoded(&7_i32),
        encoded(&7_i64),
        encoded(&7_isize),
        encoded(&7_u128),
        encoded(&7_i128),
        encoded(&Some(7_i32)),
        encoded(&Some(Some(7_i32))),
        encoded(&std::num::NonZero::new(7_u8).unwrap()),
        encoded(&Box::new(7_u8)),
    ] {
        assert_eq!(other, encoded(&7_u64));
    }
    assert_eq!(encoded(&-7_i8), encoded(&-7_i128));
}

#[test]
fn look_alikes_differ() {
    let mut all = [
        two("ab", "c"),
        two("a", "bc"),
        two("", "abc"),
        one(&None::<u8>),
        one(""),
        one(&0),
        one("0"),
        one(&false),
        one(&Vec::<u8>::new()),
        one(&[0]),
        one(&-1_i64),
        one(&u64::MAX),
    ];
    all.sort();
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
}

#[test]
fn keys_are_pinned() {
    let order = order();
    assert_eq!(Xxh64Keyed.key(&order, &SECRET).to_string(), "1b2e435e-3086-809a-2cb2-9adc9243d741");
    let zeroed = Xxh64Zeroed::new().key(&order, &SECRET);
    assert_eq!(zeroed.to_string(), "1b2e435e-3086-809a-0000-000000000000");
    assert_eq!(zeroed, Xxh64Zeroed::new().key(&order, &Secret::from_bytes([0; 16])));
    let guid = Xxh64Zeroed::new().byte_order(ByteOrder::DotNetGuid).key(&order, &SECRET);
    assert_eq!(guid.to_string(), "5e432e1b-8630-9a80-0000-000000000000");
}

/// The hash functions themselves, against the vectors of their authors.
#[test]
fn hash_functions_are_the_published_ones() {
    // xxHash: XXH64 of the empty input with seed 0 (xxhsum sanity check).
    let empty = Xxh64Zeroed::new().key(b"", &SECRET);
    assert_eq!(empty.to_string(), "ef46db37-51d8-e999-0000-000000000000");
    // SipHash-2-4, appendix A of the paper: key 00…0f, input 00…0e.
    let key: [u8; 16] = std::array::from_fn(|i| i as u8);
    let input: [u8; 15] = std::array::from_fn(|i| i as u8);
    let hashed = Xxh64Keyed.key(&input, &Secret::from_bytes(key));
    assert_eq!(hashed.as_bytes()[8..], 0xa129_ca61_49be_45e5_u64.to_be_bytes());
}

#[test]
fn byte_orders_are_as_documented() {
    // The three layouts differ in order only.
    let big = Xxh64Zeroed::new().key(b"", &SECRET);
    let guid = Xxh64Zeroed::new().byte_order(ByteOrder::DotNetGuid).key(b"", &SECRET);
    assert_eq!(big.as_bytes()[..8], 0xef46_db37_51d8_e999_u64.to_be_bytes());
    assert_eq!(guid.to_string(), "37db46ef-d851-99e9-0000-000000000000");
}

#[test]
fn keys_convert_to_and_from_uuids_and_text() {
    let uuid = uuid::uuid!("67e55044-10b1-426f-9247-bb680e5fe0c8");
    let key = InboxKey::from(uuid);
    assert_eq!(uuid::Uuid::from(key), uuid);
    assert_eq!(key.to_string().parse::<InboxKey>().unwrap(), key);
    assert!("no key".parse::<InboxKey>().is_err());
}

fn order() -> Vec<u8> {
    let mut encoder = KeyEncoder::new("OrderPlaced");
    encoder.field(&1001_i64).field("ada@example.com");
    encoder.finish().as_bytes().to_vec()
}

fn encoded<T: tower_inbox::key::KeyField + ?Sized>(value: &T) -> String {
    let mut encoder = KeyEncoder::new("Ord");
    encoder.field(value);
    hex(encoder.finish().as_bytes())
}

fn one<T: tower_inbox::key::KeyField + ?Sized>(value: &T) -> String {
    encoded(value)
}

fn two(first: &str, second: &str) -> String {
    let mut encoder = KeyEncoder::new("Ord");
    encoder.field(first).field(second);
    hex(encoder.finish().as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
