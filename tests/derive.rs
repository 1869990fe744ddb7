//! What `#[derive(Dedup)]` encodes, held against the calls one would write by hand.
#![cfg(feature = "derive")]

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use proptest::prelude::*;
use tower_inbox::{
    Dedup,
    key::{KeyEncoder, KeyField, KeyFields, encode},
};

#[derive(Dedup)]
#[dedup_by(order_id, email)]
struct OrderPlaced {
    order_id: i64,
    email: String,
    amount: f64,
}

fn order() -> OrderPlaced {
    OrderPlaced { order_id: 7, email: "a@example.com".into(), amount: 0.1 }
}

#[test]
fn chosen_fields_are_encoded_in_the_order_of_the_attribute() {
    assert_encodes(&order(), "OrderPlaced", |key| {
        key.field(&7).field("a@example.com");
    });
}

#[test]
fn fields_that_are_not_chosen_do_not_count() {
    let another = OrderPlaced { amount: 0.2, ..order() };
    assert!(another.amount > order().amount);
    assert_eq!(bytes(&order()), bytes(&another));
}

#[test]
fn each_chosen_field_counts() {
    assert_ne!(bytes(&order()), bytes(&OrderPlaced { order_id: 8, ..order() }));
    assert_ne!(bytes(&order()), bytes(&OrderPlaced { email: String::new(), ..order() }));
}

#[test]
fn the_examples_in_the_documentation_hold() {
    #[derive(Dedup)]
    #[dedup_by(order_id, customer.email, day = self.placed_at / 86_400)]
    struct OrderPlaced {
        order_id: i64,
        customer: Customer,
        placed_at: i64,
        amount: i64,
    }

    struct Customer {
        email: String,
    }

    #[derive(Dedup)]
    enum OrderEvent {
        #[dedup_by(order_id, day = placed_at / 86_400)]
        Placed { order_id: i64, placed_at: i64 },
        #[dedup_by(0, reason = _1.to_lowercase())]
        Cancelled(i64, String),
        #[dedup(skip)]
        Heartbeat,
    }

    #[derive(Dedup)]
    #[dedup_by(id = self.id())]
    enum Payment {
        Card { id: u64 },
        Transfer(u64),
    }

    impl Payment {
        fn id(&self) -> u64 {
            match self {
                Self::Card { id } | Self::Transfer(id) => *id,
            }
        }
    }

    let message = |placed_at, amount| {
        let customer = Customer { email: "a@example.com".into() };
        OrderPlaced { order_id: 7, customer, placed_at, amount }
    };
    assert_ne!(message(0, 1).amount, message(0, 2).amount);
    assert_eq!(bytes(&message(0, 1)), bytes(&message(86_399, 2)));
    assert_ne!(bytes(&message(0, 1)), bytes(&message(86_400, 1)));

    let placed = OrderEvent::Placed { order_id: 7, placed_at: 86_400 };
    assert_encodes(&placed, "OrderEvent::Placed", |key| {
        key.field(&7).field(&1);
    });
    let cancelled = OrderEvent::Cancelled(7, "Late".into());
    assert_encodes(&cancelled, "OrderEvent::Cancelled", |key| {
        key.field(&7).field("late");
    });
    assert!(encode(&OrderEvent::Heartbeat).is_absent());

    assert_ne!(bytes(&Payment::Card { id: 7 }), bytes(&Payment::Transfer(7)));
}

#[test]
fn one_field_is_enough() {
    #[derive(Dedup)]
    #[dedup_by(id)]
    struct Refunded {
        id: u8,
    }

    assert_encodes(&Refunded { id: 1 }, "Refunded", |key| {
        key.field(&1);
    });
}

#[test]
fn another_order_of_fields_is_another_key() {
    #[derive(Dedup)]
    #[dedup_by(a, b)]
    #[dedup(kind = "pair")]
    struct Forward {
        a: u8,
        b: u8,
    }

    #[derive(Dedup)]
    #[dedup_by(b, a)]
    #[dedup(kind = "pair")]
    struct Backward {
        a: u8,
        b: u8,
    }

    assert_ne!(bytes(&Forward { a: 1, b: 2 }), bytes(&Backward { a: 1, b: 2 }));
    assert_eq!(bytes(&Forward { a: 1, b: 2 }), bytes(&Backward { a: 2, b: 1 }));
}

#[test]
fn a_renamed_field_is_the_same_key() {
    #[derive(Dedup)]
    #[dedup_by(number, address)]
    #[dedup(kind = "OrderPlaced")]
    struct Renamed {
        number: u32,
        address: &'static str,
    }

    let renamed = Renamed { number: 7, address: "a@example.com" };
    assert_eq!(bytes(&renamed), bytes(&order()));
}

#[test]
fn paths_reach_any_depth() {
    #[derive(Dedup)]
    #[dedup_by(customer.address.city, id)]
    struct Shipped {
        id: u8,
        customer: Box<Customer>,
    }

    struct Customer {
        address: Address,
    }

    struct Address {
        city: String,
    }

    let address = Address { city: "Kyiv".into() };
    let shipped = Shipped { id: 1, customer: Box::new(Customer { address }) };
    assert_encodes(&shipped, "Shipped", |key| {
        key.field("Kyiv").field(&1);
    });
}

#[test]
fn tuple_fields_are_chosen_by_index() {
    #[derive(Dedup)]
    #[dedup_by(1.id, 0, 2.0.1, 2.1)]
    struct Moved(u8, Item, ((u8, u8), u8));

    struct Item {
        id: &'static str,
    }

    assert_encodes(&Moved(1, Item { id: "x" }, ((2, 3), 4)), "Moved", |key| {
        key.field("x").field(&1).field(&3).field(&4);
    });
}

#[test]
fn raw_identifiers_lose_the_mark() {
    #[allow(non_camel_case_types)]
    #[derive(Dedup)]
    #[dedup_by(r#type, fn, inner.r#in, inner.r#match, r#loop = self.r#fn + 1)]
    struct r#move {
        r#type: &'static str,
        r#fn: u8,
        inner: Inner,
    }

    struct Inner {
        r#in: u8,
        r#match: u8,
    }

    let message = r#move { r#type: "t", r#fn: 1, inner: Inner { r#in: 2, r#match: 3 } };
    assert_encodes(&message, "move", |key| {
        key.field("t").field(&1).field(&2).field(&3).field(&2);
    });
}

#[test]
fn calculated_values_see_the_message() {
    #[derive(Dedup)]
    #[dedup_by(
        id,
        day = self.placed_at / 86_400,
        email = self.email.trim().to_lowercase(),
        tags = self.tags.iter().map(String::as_str).collect::<Vec<_>>(),
        first = self.tags.first(),
        text = format!("{}-{}", self.id, self.placed_at),
        either = if self.id > 1 { "many" } else { "one" },
    )]
    struct Signup {
        id: u8,
        placed_at: i64,
        email: String,
        tags: Vec<String>,
    }

    let signup = Signup {
        id: 2,
        placed_at: 86_400 * 3 + 5,
        email: " A@example.com ".into(),
        tags: vec!["x".into(), "y".into()],
    };
    assert_encodes(&signup, "Signup", |key| {
        key.field(&2).field(&3).field("a@example.com").field(&["x", "y"]);
        key.field("x").field("2-259205").field("many");
    });
}

#[test]
fn calculated_values_are_borrowed() {
    #[derive(Dedup)]
    #[dedup_by(name = self.name, parts = *self.parts, guarded = self.guarded.lock().unwrap().as_str())]
    struct Borrowed {
        name: NotClone,
        parts: Box<[NotClone]>,
        guarded: Mutex<String>,
    }

    let message = Borrowed {
        name: NotClone("n"),
        parts: Box::new([NotClone("p")]),
        guarded: Mutex::new("g".into()),
    };
    assert_encodes(&message, "Borrowed", |key| {
        key.field("n").list(1).field("p").field("g");
    });
}

#[test]
fn a_path_through_an_option_is_calculated() {
    #[derive(Dedup)]
    #[dedup_by(id, email = self.customer.as_ref().map(|customer| &customer.email))]
    struct Guest {
        id: u8,
        customer: Option<Customer>,
    }

    struct Customer {
        email: String,
    }

    let known = Guest { id: 1, customer: Some(Customer { email: "e".into() }) };
    assert_encodes(&known, "Guest", |key| {
        key.field(&1).field("e");
    });
    assert_encodes(&Guest { id: 1, customer: None }, "Guest", |key| {
        key.field(&1).none();
    });
}

#[derive(Dedup)]
enum OrderEvent {
    #[dedup_by(order_id, customer.email, day = placed_at / 86_400)]
    Placed { order_id: u64, customer: Customer, placed_at: u64 },
    #[dedup_by(0, 1.email)]
    Cancelled(u64, Customer, &'static str),
    #[dedup_by(sum = _0 + _1, reason = self.reason())]
    Returned(u64, u64),
    #[dedup_by(always = 1)]
    Closed,
    #[dedup(skip)]
    Ping { at: u64 },
    #[dedup(skip)]
    Pong,
}

struct Customer {
    email: &'static str,
}

impl OrderEvent {
    fn reason(&self) -> &str {
        match self {
            Self::Cancelled(_, _, reason) => reason,
            _ => "none given",
        }
    }
}

#[test]
fn each_variant_chooses_its_own_fields() {
    let customer = Customer { email: "e" };
    let placed = OrderEvent::Placed { order_id: 7, customer, placed_at: 86_400 };
    assert_encodes(&placed, "OrderEvent::Placed", |key| {
        key.field(&7).field("e").field(&1);
    });
    let cancelled = OrderEvent::Cancelled(7, Customer { email: "e" }, "too late");
    assert_eq!(cancelled.reason(), "too late");
    assert_encodes(&cancelled, "OrderEvent::Cancelled", |key| {
        key.field(&7).field("e");
    });
}

#[test]
fn expressions_of_a_variant_see_its_fields_and_self() {
    assert_encodes(&OrderEvent::Returned(1, 2), "OrderEvent::Returned", |key| {
        key.field(&3).field("none given");
    });
    assert_encodes(&OrderEvent::Closed, "OrderEvent::Closed", |key| {
        key.field(&1);
    });
}

#[test]
fn a_skipped_variant_has_no_key() {
    for event in [OrderEvent::Ping { at: 1 }, OrderEvent::Pong] {
        assert!(encode(&event).is_absent());
        let OrderEvent::Ping { at } = event else {
            continue;
        };
        assert_eq!(at, 1);
    }
    assert!(!encode(&OrderEvent::Closed).is_absent());
}

#[test]
fn an_enum_may_choose_for_all_its_variants() {
    #[derive(Dedup)]
    #[dedup_by(id = self.id(), shape = "enum")]
    enum Envelope {
        Text(u8, &'static str),
        #[dedup(kind = "pinned")]
        Number {
            id: u8,
        },
        #[dedup(skip)]
        Empty,
    }

    impl Envelope {
        fn id(&self) -> u8 {
            match self {
                Self::Text(id, text) => id + u8::try_from(text.len()).unwrap(),
                Self::Number { id } => *id,
                Self::Empty => unreachable!("a skipped variant is not asked"),
            }
        }
    }

    assert_encodes(&Envelope::Text(1, "x"), "Envelope::Text", |key| {
        key.field(&2).field("enum");
    });
    assert_encodes(&Envelope::Number { id: 2 }, "pinned", |key| {
        key.field(&2).field("enum");
    });
    assert!(encode(&Envelope::Empty).is_absent());
}

#[test]
fn a_pinned_kind_replaces_the_name() {
    #[derive(Dedup)]
    #[dedup(kind = "order/placed")]
    #[dedup_by(0)]
    struct Placed(u8);

    #[derive(Dedup)]
    #[dedup(kind = "order")]
    enum Event {
        #[dedup_by(0)]
        Placed(u8),
        #[dedup_by(0)]
        #[dedup(kind = "gone")]
        Cancelled(u8),
    }

    assert_eq!(Placed(1).kind(), "order/placed");
    assert_eq!(Event::Placed(1).kind(), "order::Placed");
    assert_eq!(Event::Cancelled(1).kind(), "gone");
    assert_eq!(bytes(&Placed(1))[1..13], *b"\x0c\0\0\0\0\0\0\0orde");
}

#[test]
fn options_that_are_all_none_are_no_key() {
    #[derive(Dedup)]
    #[dedup_by(id, email)]
    struct Partial {
        id: Option<u8>,
        email: Option<String>,
    }

    assert!(encode(&Partial { id: None, email: None }).is_absent());
    assert!(!encode(&Partial { id: Some(0), email: None }).is_absent());
    assert!(!encode(&Partial { id: None, email: Some(String::new()) }).is_absent());
}

#[test]
fn type_parameters_are_bound_where_they_are_chosen() {
    #[derive(Dedup)]
    #[dedup_by(id, again, key, maybe, many, count = self.unbound.len())]
    struct Envelope<T: Keyed, U = u8, V = NotAKeyField> {
        id: T,
        again: T,
        key: T::Key,
        maybe: Option<Box<U>>,
        many: BTreeMap<String, Arc<U>>,
        unbound: Vec<V>,
    }

    trait Keyed {
        type Key;
    }

    impl Keyed for u8 {
        type Key = &'static str;
    }

    struct NotAKeyField;

    let envelope = Envelope {
        id: 1_u8,
        again: 1,
        key: "k",
        maybe: Some(Box::new('m')),
        many: BTreeMap::from([("a".to_owned(), Arc::new('b'))]),
        unbound: vec![NotAKeyField],
    };
    assert_encodes(&envelope, "Envelope", |key| {
        key.field(&1).field(&1).field("k").field("m").map(1).field("a").field("b").field(&1);
    });
}

#[test]
fn variants_bound_type_parameters_too() {
    #[derive(Dedup)]
    enum Either<L, R> {
        #[dedup_by(0)]
        Left(L),
        #[dedup_by(right, len = right.len())]
        Right { right: Vec<R> },
    }

    assert_encodes(&Either::<_, u8>::Left("l"), "Either::Left", |key| {
        key.field("l");
    });
    assert_encodes(&Either::<u8, _>::Right { right: vec![2] }, "Either::Right", |key| {
        key.field(&[2]).field(&1);
    });
}

#[test]
fn lifetimes_and_constants_are_parameters_too() {
    #[derive(Dedup)]
    #[dedup_by(name, cow, digits, list)]
    struct Slice<'a, 'b: 'a, const N: usize, T>
    where
        T: Clone,
    {
        name: &'a str,
        cow: Cow<'b, str>,
        digits: [u8; N],
        list: &'a [T],
    }

    let slice = Slice { name: "n", cow: "c".into(), digits: [1, 2], list: &["l"] };
    assert_encodes(&slice, "Slice", |key| {
        key.field("n").field("c").field(&[1, 2]).field(&["l"]);
    });
}

#[test]
fn the_library_may_have_another_path() {
    mod facade {
        pub(super) use tower_inbox as inbox;
    }

    // A stand-in shows that nothing of the usual path is left in the generated code.
    mod stand_in {
        pub(super) mod __private {
            pub(in super::super) use tower_inbox::key::KeyEncoder;

            pub(in super::super) trait Dedup {
                fn kind(&self) -> &str;
                fn encode_fields(&self, encoder: &mut KeyEncoder);
            }

            pub(in super::super) trait KeyField {
                fn encode(&self, encoder: &mut KeyEncoder);
            }
        }

        impl __private::KeyField for f64 {
            fn encode(&self, encoder: &mut super::KeyEncoder) {
                encoder.text("a float, here");
            }
        }
    }

    #[derive(Dedup)]
    #[dedup_by(0)]
    #[dedup(crate = "facade::inbox")]
    struct Here<T>(T);

    #[derive(Dedup)]
    #[dedup_by(0.0, 1)]
    #[dedup(crate = "stand_in")]
    struct There<T>((f64,), T);

    assert_encodes(&Here(1), "Here", |key| {
        key.field(&1);
    });
    let mut encoder = KeyEncoder::new("There");
    stand_in::__private::Dedup::encode_fields(&There((0.1,), 0.2), &mut encoder);
    assert_eq!(stand_in::__private::Dedup::kind(&There((0.1,), 0.2)), "There");
    assert!(!encoder.finish().is_absent());
}

#[test]
fn generated_names_do_not_meet_those_of_the_user() {
    #![allow(non_camel_case_types, dead_code)]

    struct str;
    struct core;
    struct KeyField;

    #[derive(tower_inbox::Dedup)]
    enum Option {
        #[dedup_by(id, encoder, value, __id = *id + *encoder + *value)]
        Some { id: u8, encoder: u8, value: u8 },
        #[dedup_by(one = 1)]
        None,
    }

    let some = Option::Some { id: 1, encoder: 2, value: 3 };
    assert_encodes(&some, "Option::Some", |key| {
        key.field(&1).field(&2).field(&3).field(&6);
    });
    assert_encodes(&Option::None, "Option::None", |key| {
        key.field(&1);
    });
}

#[test]
fn a_macro_may_write_the_message() {
    macro_rules! message {
        ($name:ident, $kind:literal, $id:ident: $ty:ty, $value:expr) => {
            #[derive(Dedup)]
            #[dedup_by($id, inner.id, $id.0, twice = self.$id.0 * 2, given = $value)]
            #[dedup(kind = $kind)]
            struct $name {
                $id: $ty,
                inner: Inner,
            }
        };
    }

    struct Inner {
        id: u8,
    }

    message!(Made, "made", number: Number, 1 + 1);

    assert_encodes(&Made { number: Number(1), inner: Inner { id: 2 } }, "made", |key| {
        key.field(&1).field(&2).field(&1).field(&2).field(&2);
    });

    struct Number(u8);

    impl tower_inbox::key::KeyField for Number {
        fn encode(&self, encoder: &mut KeyEncoder) {
            self.0.encode(encoder);
        }
    }
}

/// Compiled by clippy, which then has nothing to say about generated code, however strict it is.
#[deny(warnings, clippy::pedantic, clippy::nursery)]
#[test]
fn generated_code_is_quiet() {
    use std::convert::Infallible;

    #[derive(Dedup)]
    #[dedup_by(private, sum = self.id + 1)]
    struct Strict<T> {
        id: u8,
        private: Private<T>,
    }

    struct Private<T>(T);

    impl<T: KeyField> KeyField for Private<T> {
        fn encode(&self, encoder: &mut KeyEncoder) {
            self.0.encode(encoder);
        }
    }

    #[allow(dead_code)]
    #[derive(Dedup)]
    enum Event {
        #[dedup_by(id, len = self.kind().len())]
        Some { id: u8, other: u8 },
        #[dedup_by(0)]
        Never(u8, Infallible),
        #[deprecated]
        #[dedup_by(0, same = _0)]
        Old(u8),
        #[allow(non_snake_case)]
        #[dedup_by(orderId, same = *orderId)]
        Camel { orderId: u8 },
        #[dedup(skip)]
        Skipped,
    }

    assert_encodes(&Strict { id: 1, private: Private("p") }, "Strict", |key| {
        key.field("p").field(&2);
    });
    assert!(encode(&Event::Skipped).is_absent());
}

proptest! {
    #[test]
    fn a_derive_and_a_closure_give_one_key(order_id: i64, email: String) {
        let message = OrderPlaced { order_id, email, amount: 0.0 };
        let closure = |message: &OrderPlaced| (message.order_id, message.email.clone());
        let mut encoder = KeyEncoder::new("OrderPlaced");
        closure(&message).encode_fields(&mut encoder);
        prop_assert_eq!(bytes(&message), encoder.finish().as_bytes().to_vec());
    }
}

/// Neither `Copy` nor `Clone`.
struct NotClone(&'static str);

impl KeyField for NotClone {
    fn encode(&self, encoder: &mut KeyEncoder) {
        encoder.text(self.0);
    }
}

fn bytes(message: &impl Dedup) -> Vec<u8> {
    encode(message).as_bytes().to_vec()
}

fn assert_encodes(message: &impl Dedup, kind: &str, fields: impl FnOnce(&mut KeyEncoder)) {
    assert_eq!(message.kind(), kind);
    let mut by_hand = KeyEncoder::new(kind);
    fields(&mut by_hand);
    assert_eq!(bytes(message), by_hand.finish().as_bytes());
}
