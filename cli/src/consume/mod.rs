//! Reads NDJSON and handles each message once.

mod carried;
mod exec;
mod into_table;
mod lines;
mod patience;
mod report;
mod run;
mod settings;
mod stdout;
mod verdict;

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::timeout};
use tower::{Service, ServiceBuilder, service_fn};
use tower_inbox::{
    BoxError, InboxLayer, Outcome,
    inbox::{DeadLetterPolicy, redelivery::Redelivery},
};

use crate::{
    database::{Backend, Location, Use, with_store},
    dead_letters,
    error::Failure,
    exit::Exit,
    input::Input,
    message::Message,
    output::{self, Format},
    progress::Progress,
    signals::Signals,
};

use carried::Carried;
use patience::{Patience, Stop};
use report::{Report, Tally};
use run::Run;
use settings::Handling;
use verdict::Refused;

pub(crate) use settings::Settings;

/// Reads the stream to its end, or until something stops it.
pub(crate) async fn consume(
    settings: Settings,
    location: &Location,
    format: Format,
) -> Result<Exit, Failure> {
    // Before the database, so that a name that was mistyped leaves no file behind.
    let input = Input::open(&settings.input)?;
    input.keep_apart(&settings.dead_letters, location.file())?;
    if let Handling::Into(table) = &settings.handling {
        location.accepts(table)?;
    }
    // Each message under way has a connection; the sweeper has one, and an extension of a lease.
    let connections = u32::try_from(settings.workers).unwrap_or(u32::MAX).saturating_add(2);
    let database = location.open(Use { create: true, connections }).await?;
    with_store!(database, store => Consume { settings, format, store }.run(input).await)
}

struct Consume<B> {
    settings: Settings,
    format: Format,
    store: B,
}

impl<B: Backend> Consume<B> {
    async fn run(self, input: Input) -> Result<Exit, Failure> {
        self.prepare_schema().await?;
        let Settings { consumer, window, lease, .. } = &self.settings;
        let mut layer = InboxLayer::new(consumer.as_str(), self.store.clone())
            .window((*window).into())
            .source(Carried);
        if let Some(attempts) = self.settings.max_attempts {
            // Whatever else goes wrong stops the run, and is not the message's fault.
            layer = layer.dead_letters(DeadLetterPolicy::after(attempts).except(|error| {
                !error.is::<Refused>() && into_table::refusal::<B>(error).is_none()
            }));
        }
        let stop = Stop::default();
        let patience = Patience::new(self.settings.in_flight_wait, &stop);
        let stack = ServiceBuilder::new().retry(patience);
        match &self.settings.handling {
            Handling::Into(table) => {
                let insert = self.store.prepare_table(table).await?;
                layer.prepare().await?;
                let handler =
                    service_fn(move |received| into_table::handle::<B>(insert.clone(), received));
                let stack = stack.map_err(into_table::refused::<B>).layer(layer);
                self.drive(input, stack.service(handler), stop).await
            }
            Handling::Exec(command) => {
                let layer = layer.leased(*lease);
                layer.prepare().await?;
                let (command, lease) = (Arc::clone(command), *lease);
                let handler =
                    service_fn(move |leased| exec::handle(Arc::clone(&command), lease, leased));
                self.drive(input, stack.layer(layer).service(handler), stop).await
            }
            Handling::Stdout => {
                layer.prepare().await?;
                let stdout = Rc::new(stdout::new());
                let handler =
                    service_fn(move |received| stdout::handle(Rc::clone(&stdout), received));
                self.drive(input, stack.layer(layer).service(handler), stop).await
            }
        }
    }

    async fn prepare_schema(&self) -> Result<(), Failure> {
        let found = self.store.version().await?;
        #[cfg(feature = "_database")]
        if found.is_none_or(|found| found < tower_inbox::schema::VERSION)
            && (B::MIGRATES_UNASKED || self.settings.migrate)
        {
            self.store.up().await?;
        }
        Ok(self.store.check().await?)
    }

    /// Drives the stream through the service, and reports.
    async fn drive<S>(&self, input: Input, service: S, stop: Stop) -> Result<Exit, Failure>
    where
        S: Service<Arc<Message>, Response = Outcome<()>, Error = BoxError> + Clone,
    {
        let Self { settings, format, store } = self;
        let dead_letters = dead_letters::create(&settings.dead_letters, &settings.input)?;
        let signals = Signals::new()
            .map_err(|error| Failure::stopped("could not wait for signals").because(error))?;

        let (sweeping, swept) = oneshot::channel::<()>();
        let sweeper = tokio::spawn(store.sweeper().run(async { swept.await.unwrap_or(()) }));

        let progress = Progress::new(settings.handling.leaves_terminal(), input.length());
        let lines = lines::read(input, settings);
        let run = Run {
            workers: settings.workers,
            tally: Tally::new(),
            dead_letters,
            progress,
            signals,
            stop,
        };
        let (fields, kind) = (settings.key.clone(), settings.kind.clone());
        let decode = move |payload| Message::from_letter(payload, &fields, &kind).map(Arc::new);
        let consumer = settings.consumer.as_str();
        // Held by nobody: after a run that was killed the claims say what is in flight, and for how
        // long to be patient.
        let letters =
            Redelivery::new(consumer, store.clone(), service.clone(), decode).hold(Duration::ZERO);
        let (ended, tally, dead_letters) = run.through(service, letters, lines).await;

        drop(sweeping);
        timeout(GRACE, sweeper).await.ok();
        timeout(GRACE, store.close()).await.ok();

        let report = Report::new(&settings.consumer, &tally);
        let text = format.render(&report, |report| report.text(&dead_letters));
        if matches!(settings.handling, Handling::Stdout) {
            output::note(text.trim_end());
        } else {
            output::print(&text)?;
        }
        if let Some(hint) = tally.hint() {
            output::note(&hint);
        }
        ended.into_exit("what was handled stays handled")
    }
}

// Whatever is still under way then is left to the database, as after a crash.
const GRACE: Duration = Duration::from_secs(2);
