use std::fmt;

/// One number per variant and round, all of one run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds {
    variants: Vec<(String, Vec<f64>)>,
}

/// A median with what it came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Rounds {
    pub(crate) fn push(&mut self, variant: &str, value: f64) {
        match self.variants.iter_mut().find(|(name, _)| name == variant) {
            Some((_, values)) => values.push(value),
            None => self.variants.push((variant.to_owned(), vec![value])),
        }
    }

    pub(crate) fn has(&self, variant: &str) -> bool {
        self.variants.iter().any(|(name, _)| name == variant)
    }

    pub(crate) fn of(&self, variant: &str) -> Spread {
        Spread::of(self.values(variant).to_vec())
    }

    /// The ratio to another variant, taken within each round and only then over the rounds.
    pub(crate) fn ratio(&self, variant: &str, base: &str) -> Spread {
        let pairs = self.values(variant).iter().zip(self.values(base));
        Spread::of(pairs.map(|(value, base)| value / base).collect())
    }

    fn values(&self, variant: &str) -> &[f64] {
        let found = self.variants.iter().find(|(name, _)| name == variant);
        found.map(|(_, values)| values.as_slice()).expect("the variant was measured")
    }
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (values[0], values[values.len() - 1]);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self { median, min, max }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} [{:.2} – {:.2}]", self.median, self.min, self.max)
    }
}

/// The order of the variants in a round: each starts a round in turn, so that a drift of the machine
/// favours none of them.
pub(crate) fn order_of(round: usize, variants: usize) -> impl Iterator<Item = usize> {
    (0..variants).map(move |place| (place + round) % variants)
}
