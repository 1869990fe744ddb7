//! What making an inbox key costs: a number and an e-mail address of 23 characters.
//!
//! The base writes the same canonical bytes into a buffer on the stack by hand and hashes them with
//! xxHash64 in one call. Ours does that through the derive and adds the keyed half.

mod support;

use std::{hint::black_box, time::Instant};

use serde::Serialize;
use tower_inbox::{
    Dedup,
    key::{KeyHasher, Secret, Xxh64Keyed, Xxh64Zeroed, encode},
};
use xxhash_rust::xxh64::{Xxh64, xxh64};

use support::{Args, Goal, Rounds, Spread, Table, judged, order_of, print_machine};

#[derive(Dedup, Serialize)]
#[dedup_by(order_id, email)]
struct OrderPlaced {
    order_id: u64,
    email: String,
}

fn main() {
    let args = Args::parse();
    print_machine("cargo bench --features postgres --bench key", &args, &[]);

    let orders: Vec<OrderPlaced> = (0..ORDERS).map(order).collect();
    for order in &orders {
        let mut buffer = [0; BUFFER];
        assert_eq!(by_hand(order, &mut buffer), encode(order).as_bytes());
    }

    let mut rounds = Rounds::default();
    for round in 0..args.rounds() {
        for index in order_of(round, VARIANTS.len()) {
            let (name, _, key) = VARIANTS[index];
            rounds.push(name, nanoseconds(&orders, key, if args.quick { 20 } else { 200 }));
        }
    }

    let mut table =
        Table::new(&["variant", "bits", "ns", "ratio to the base", "goal", "allocations"]);
    for (name, bits, key) in VARIANTS {
        let goal = (name == OURS).then_some(Goal::AtMost(1.8));
        let [ratio, goal] = judged(rounds.ratio(name, BASE), goal);
        let allocations = allocations(&orders, key);
        assert!(name != OURS || allocations == 0, "a key made by the derive allocated");
        let Spread { median, .. } = rounds.of(name);
        let per_key = format!("{}", allocations / ORDERS);
        table.row([name.into(), bits.to_string(), format!("{median:.1}"), ratio, goal, per_key]);
    }
    table.print("Key of two fields");
}

type Key = fn(&OrderPlaced) -> u64;

const OURS: &str = "derive, xxHash64 and SipHash-2-4";
const BASE: &str = "canonical bytes by hand, one-shot xxHash64";

const VARIANTS: [(&str, u32, Key); 8] = [
    (BASE, 64, |order| xxh64(by_hand(order, &mut [0; BUFFER]), 0)),
    (OURS, 128, |order| {
        let key = Xxh64Keyed.key(encode(order).as_bytes(), &SECRET);
        fold(u128::from_be_bytes(*key.as_bytes()))
    }),
    ("derive, boxed xxHash64 and SipHash-2-4", 128, |order| {
        // As the layer calls it: through the trait object.
        let hasher: &dyn KeyHasher = black_box(&Xxh64Keyed);
        let key = hasher.key(encode(order).as_bytes(), &SECRET);
        fold(u128::from_be_bytes(*key.as_bytes()))
    }),
    ("derive, xxHash64 and zeros", 64, |order| {
        let key = Xxh64Zeroed::new().key(encode(order).as_bytes(), &SECRET);
        fold(u128::from_be_bytes(*key.as_bytes()))
    }),
    ("derive, canonical bytes alone", 0, |order| black_box(encode(order)).as_bytes().len() as u64),
    ("canonical bytes by hand alone", 0, |order| {
        by_hand(order, black_box(&mut [0; BUFFER])).len() as u64
    }),
    ("streaming xxHash64 of the canonical fields", 64, |order| {
        let mut hash = Xxh64::new(0);
        hash.update(&[VERSION]);
        hash.update(&(KIND.len() as u64).to_le_bytes());
        hash.update(KIND.as_bytes());
        hash.update(&[NATURAL]);
        hash.update(&order.order_id.to_le_bytes());
        hash.update(&[TEXT]);
        hash.update(&(order.email.len() as u64).to_le_bytes());
        hash.update(order.email.as_bytes());
        hash.digest()
    }),
    ("serde_json::to_vec, xxHash64", 64, |order| {
        xxh64(&serde_json::to_vec(order).expect("an order is JSON"), 0)
    }),
];

/// The canonical encoding without the library; see `src/docs/encoding.md`.
#[inline]
fn by_hand<'a>(order: &OrderPlaced, buffer: &'a mut [u8; BUFFER]) -> &'a [u8] {
    let email = order.email.as_bytes();
    let end = TEXT_AT + email.len();
    buffer[0] = VERSION;
    buffer[1..9].copy_from_slice(&(KIND.len() as u64).to_le_bytes());
    buffer[9..KIND_END].copy_from_slice(KIND.as_bytes());
    buffer[KIND_END] = NATURAL;
    buffer[KIND_END + 1..KIND_END + 9].copy_from_slice(&order.order_id.to_le_bytes());
    buffer[KIND_END + 9] = TEXT;
    buffer[KIND_END + 10..TEXT_AT].copy_from_slice(&(email.len() as u64).to_le_bytes());
    buffer[TEXT_AT..end].copy_from_slice(email);
    &buffer[..end]
}

/// The fastest of some passes over all orders: what disturbs a pass only makes it slower.
fn nanoseconds(orders: &[OrderPlaced], key: Key, passes: usize) -> f64 {
    (0..passes)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..REPEATS {
                for order in orders {
                    black_box(key(black_box(order)));
                }
            }
            #[allow(clippy::cast_precision_loss)] // some thousands
            let keys = (REPEATS * ORDERS) as f64;
            started.elapsed().as_secs_f64() * 1e9 / keys
        })
        .fold(f64::INFINITY, f64::min)
}

fn allocations(orders: &[OrderPlaced], key: Key) -> u64 {
    let counted = allocation_counter::measure(|| {
        for order in orders {
            black_box(key(order));
        }
    });
    counted.count_total
}

fn order(index: u64) -> OrderPlaced {
    let email = format!("customer{:03}@example.com", index % 1000);
    assert_eq!(email.len(), 23);
    OrderPlaced { order_id: index.wrapping_mul(0x9e37_79b9_7f4a_7c15), email }
}

#[allow(clippy::cast_possible_truncation)] // both halves are used
const fn fold(key: u128) -> u64 {
    (key >> 64) as u64 ^ key as u64
}

const ORDERS: u64 = 256;
const REPEATS: u64 = 20;
const BUFFER: usize = 128;
const KIND: &str = "OrderPlaced";
const KIND_END: usize = 9 + KIND.len();
const TEXT_AT: usize = KIND_END + 18;
const VERSION: u8 = 1;
const NATURAL: u8 = 0x03;
const TEXT: u8 = 0x07;
const SECRET: Secret = Secret::from_bytes([7; 16]);
