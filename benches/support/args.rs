use std::{env, process::exit, time::Duration};

/// The flags behind `--`.
#[derive(Debug, Clone)]
pub(crate) struct Args {
    /// A short run, to see that everything works; its numbers mean little.
    pub(crate) quick: bool,
    /// Run only what begins with one of these.
    pub(crate) only: Vec<String>,
    /// Leave out all variants but the first and those that begin with one of these.
    variants: Vec<String>,
    /// How often a measurement that others disturbed is taken again.
    pub(crate) patience: usize,
    rounds: Option<usize>,
    seconds: Option<f64>,
    given: Vec<String>,
}

impl Args {
    pub(crate) fn parse() -> Self {
        // Cargo adds `--bench` to whatever stands behind `--`.
        let given: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
        let mut args = Self {
            quick: false,
            only: Vec::new(),
            variants: Vec::new(),
            patience: 0,
            rounds: None,
            seconds: None,
            given: given.clone(),
        };
        let mut rest = given.iter();
        while let Some(arg) = rest.next() {
            let mut value = || rest.next().cloned().unwrap_or_else(|| usage());
            match arg.as_str() {
                "--quick" => args.quick = true,
                "--only" => args.only.push(value()),
                "--variant" => args.variants.push(value()),
                "--patience" => args.patience = value().parse().unwrap_or_else(|_| usage()),
                "--rounds" => args.rounds = Some(value().parse().unwrap_or_else(|_| usage())),
                "--seconds" => args.seconds = Some(value().parse().unwrap_or_else(|_| usage())),
                _ => usage(),
            }
        }
        args
    }

    /// Whether a part of the benchmark is to be run.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }

    /// Whether a variant is to be run; `index` 0 is the base.
    pub(crate) fn wants_variant(&self, index: usize, name: &str) -> bool {
        let wanted = |variant: &String| name.starts_with(variant.as_str());
        index == 0 || self.variants.is_empty() || self.variants.iter().any(wanted)
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 }).max(1)
    }

    /// How long one variant is measured in one round.
    pub(crate) fn slice(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(if self.quick { 0.3 } else { 1.5 }))
    }

    /// The command line that gives this run.
    pub(crate) fn command(&self, command: &str) -> String {
        let mut command = command.to_owned();
        if !self.given.is_empty() {
            command += " -- ";
            let quoted = self.given.iter().map(|arg| match arg.contains(' ') {
                true => format!("'{arg}'"),
                false => arg.clone(),
            });
            command += &quoted.collect::<Vec<_>>().join(" ");
        }
        command
    }
}

fn usage() -> ! {
    eprintln!("flags: --quick, --only NAME, --variant NAME, --rounds N, --seconds S, --patience N");
    exit(2);
}
