//! What is counted for whoever watches, as OpenMetrics text (OpenMetrics 1.0.0). Labels are words of this program alone: no
//! id, and no name that a person gave to anything.
//!
//! Counting is some atomics behind a shared lock: it stands on the way of every answer.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text},
    metrics::{MetricType, exemplar::Exemplar},
    registry::Registry,
};

pub use prometheus_client::registry::Unit;

/// What every name begins with.
const PREFIX: &str = "trayvault";

/// The bounds of the latency's buckets, in microseconds: an answer from the cache takes tens of them, one for which Tray is
/// asked may take a minute.
const BOUNDS: [u32; 16] = [
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000, 15_000_000,
    60_000_000,
];

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4, the older one, which node_exporter's textfile collector reads.
    Prometheus,
}

impl Format {
    /// What HTTP calls it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// The counters. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    routes: Words<Route>,
    refusals: Words<AtomicU64>,
    connections: AtomicU64,
    refused_connections: AtomicU64,
    credential_loads: Words<AtomicU64>,
}

/// The requests of one route.
#[derive(Debug, Default)]
struct Route {
    answers: Words<AtomicU64>,
    /// One for each of [`BOUNDS`], and one for what is beyond.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// An open connection, until it is dropped.
#[must_use]
pub struct Connection(Metrics);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// A request was answered. `route` is the template of its path, never the path; `method` and `code` are those of HTTP.
    pub fn answered(&self, route: &str, method: &str, code: u16, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.routes.with(&[route], |route| {
            let mut digits = [0; 3];
            route.answers.with(&[method_word(method), code_word(code, &mut digits)], count);
            let bucket = BOUNDS.partition_point(|bound| u64::from(*bound) * 1_000 < took);
            if let Some(bucket) = route.buckets.get(bucket) {
                count(bucket);
            }
            route.nanoseconds.fetch_add(took, Ordering::Relaxed);
        });
    }

    /// A caller was refused.
    pub fn refused(&self, reason: &'static str) {
        self.0.refusals.with(&[reason], count);
    }

    /// A connection was accepted.
    pub fn connected(&self) -> Connection {
        count(&self.0.connections);
        Connection(self.clone())
    }

    /// A connection was refused.
    pub fn refused_connection(&self) {
        count(&self.0.refused_connections);
    }

    /// A unit asked for a credential, with this outcome.
    pub fn credential_load(&self, outcome: &'static str) {
        self.0.credential_loads.with(&[outcome], count);
    }

    /// The text: what is counted here, then what `more` writes.
    ///
    /// # Errors
    /// What `more` gives.
    pub fn text(
        &self,
        format: Format,
        more: impl Fn(&mut Sheet<'_>) -> fmt::Result + Send + Sync + 'static,
    ) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix(PREFIX);
        let counters = self.clone();
        registry.register_collector(Box::new(Written(move |sheet: &mut Sheet<'_>| counters.write(sheet))));
        registry.register_collector(Box::new(Written(more)));
        let mut text = String::new();
        match format {
            Format::OpenMetrics => text::encode(&mut text, &registry)?,
            Format::Prometheus => prometheus_text::encode(&mut text, &registry)?,
        }
        Ok(text)
    }

    fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let Counters { routes, refusals, connections, refused_connections, credential_loads } = &*self.0;
        let (mut answers, mut durations) = (Vec::new(), Vec::new());
        routes.each(|name, route| {
            route.answers.each(|words, answered| {
                let [method, code] = words else { return };
                answers.push((
                    [("route", name[0].clone()), ("method", method.clone()), ("code", code.clone())],
                    read(answered),
                ));
            });
            durations.push((name[0].clone(), route.buckets.each_ref().map(read), read(&route.nanoseconds)));
        });
        sheet.counters("api_requests", None, "Requests that were answered on the API socket", answers)?;
        let mut family = sheet.family(
            "api_request_duration",
            Some(&Unit::Seconds),
            "How long requests took to be answered, to the head of the answer",
            MetricType::Histogram,
        )?;
        for (route, buckets, nanoseconds) in durations {
            let bounds = BOUNDS.iter().map(|bound| f64::from(*bound) / 1e6).chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(buckets).collect();
            let seconds = Duration::from_nanos(nanoseconds).as_secs_f64();
            let all = buckets.iter().map(|(_, count)| count).sum();
            family.encode_family(&[("route", route)])?.encode_histogram::<NoLabelSet>(seconds, all, &buckets, None)?;
        }
        let by = |label: &'static str, words: &Words<AtomicU64>| {
            let mut counts = Vec::new();
            words.each(|words, count| counts.push(([(label, words[0].clone())], read(count))));
            counts
        };
        sheet.counters("api_refusals", None, "Requests that were refused, by why", by("reason", refusals))?;
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        sheet.gauge("api_connections", None, "Open connections on the API socket", read(connections) as f64)?;
        sheet.counter(
            "api_refused_connections",
            None,
            "Connections that were refused: too many were open",
            read(refused_connections),
        )?;
        let loads = by("outcome", credential_loads);
        sheet.counters("credential_loads", None, "Credentials that units asked for, by outcome", loads)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// A method as a label: what else a caller writes there is none of this program's words.
fn method_word(method: &str) -> &'static str {
    const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
    METHODS.into_iter().find(|known| *known == method).unwrap_or("other")
}

/// A status code as text, without an allocation.
fn code_word(code: u16, digits: &mut [u8; 3]) -> &str {
    let digit = |value: u16| b'0' + u8::try_from(value % 10).unwrap_or_default();
    *digits = [digit(code / 100), digit(code / 10), digit(code)];
    str::from_utf8(digits).unwrap_or_default()
}

/// Something for each combination of words, made when it first comes. There are few of them.
#[derive(Debug)]
struct Words<T>(RwLock<Vec<(Vec<Arc<str>>, T)>>);

impl<T> Default for Words<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T: Default> Words<T> {
    fn with(&self, words: &[&str], use_it: impl FnOnce(&T)) {
        let is_it = |(known, _): &&(Vec<Arc<str>>, T)| known.iter().map(AsRef::as_ref).eq(words.iter().copied());
        {
            let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, found)) = all.iter().find(is_it) {
                return use_it(found);
            }
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another may have made it meanwhile.
        if !all.iter().any(|one| is_it(&one)) {
            all.push((words.iter().map(|word| Arc::from(*word)).collect(), T::default()));
        }
        if let Some((_, made)) = all.iter().find(is_it) {
            use_it(made);
        }
    }

    fn each(&self, mut look: impl FnMut(&[Arc<str>], &T)) {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().for_each(|(words, one)| look(words, one));
    }
}

/// Where families are written, one after the other.
pub struct Sheet<'a>(DescriptorEncoder<'a>);

impl Sheet<'_> {
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        unit: Option<&'s Unit>,
        help: &str,
        kind: MetricType,
    ) -> Result<prometheus_client::encoding::MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, unit, kind)
    }

    /// A gauge without labels. `name` is without the program's and the unit's.
    ///
    /// # Errors
    /// None of its own.
    pub fn gauge(&mut self, name: &str, unit: Option<&Unit>, help: &str, value: f64) -> fmt::Result {
        self.family(name, unit, help, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// A gauge that may have no value.
    ///
    /// # Errors
    /// None of its own.
    pub fn gauge_if(&mut self, name: &str, unit: Option<&Unit>, help: &str, value: Option<f64>) -> fmt::Result {
        let mut family = self.family(name, unit, help, MetricType::Gauge)?;
        value.map_or(Ok(()), |value| family.encode_gauge(&value))
    }

    /// A gauge with labels.
    ///
    /// # Errors
    /// None of its own.
    pub fn gauges<const N: usize>(
        &mut self,
        name: &str,
        unit: Option<&Unit>,
        help: &str,
        values: impl IntoIterator<Item = ([(&'static str, &'static str); N], f64)>,
    ) -> fmt::Result {
        let mut family = self.family(name, unit, help, MetricType::Gauge)?;
        values.into_iter().try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }

    /// A counter without labels. `name` is without `_total`.
    ///
    /// # Errors
    /// None of its own.
    pub fn counter(&mut self, name: &str, unit: Option<&Unit>, help: &str, value: u64) -> fmt::Result {
        let mut family = self.family(name, unit, help, MetricType::Counter)?;
        family.encode_counter(&value, None::<&Exemplar<NoLabelSet, f64>>)
    }

    /// A counter with labels.
    ///
    /// # Errors
    /// None of its own.
    pub fn counters<const N: usize, W: AsRef<str>>(
        &mut self,
        name: &str,
        unit: Option<&Unit>,
        help: &str,
        values: impl IntoIterator<Item = ([(&'static str, W); N], u64)>,
    ) -> fmt::Result {
        let mut family = self.family(name, unit, help, MetricType::Counter)?;
        values.into_iter().try_for_each(|(labels, value)| {
            let labels = labels.each_ref().map(|(label, word)| (*label, word.as_ref()));
            family.encode_family(&labels)?.encode_counter(&value, None::<&Exemplar<NoLabelSet, f64>>)
        })
    }

    /// What does not change, as labels.
    ///
    /// # Errors
    /// None of its own.
    pub fn info(&mut self, name: &str, help: &str, labels: &[(&'static str, &'static str)]) -> fmt::Result {
        self.family(name, None, help, MetricType::Info)?.encode_info(&labels)
    }
}

/// A collector that is a function.
struct Written<F>(F);

impl<F> fmt::Debug for Written<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written")
    }
}

impl<F: Fn(&mut Sheet<'_>) -> fmt::Result + Send + Sync + 'static> Collector for Written<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut Sheet(encoder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_in_the_text() {
        let metrics = Metrics::default();
        let open = metrics.connected();
        metrics.answered("/v1/status", "GET", 200, Duration::from_micros(30));
        metrics.answered("/v1/status", "GET", 200, Duration::from_secs(90));
        metrics.answered("/v1/status", "BREW", 405, Duration::from_micros(25));
        metrics.refused("no_rule");
        let text = metrics
            .text(Format::OpenMetrics, |sheet| sheet.gauge("more", Some(&Unit::Bytes), "More", 1.5))
            .expect("text");
        for line in [
            "trayvault_api_requests_total{route=\"/v1/status\",method=\"GET\",code=\"200\"} 2",
            "trayvault_api_requests_total{route=\"/v1/status\",method=\"other\",code=\"405\"} 1",
            "trayvault_api_request_duration_seconds_bucket{le=\"0.000025\",route=\"/v1/status\"} 1",
            "trayvault_api_request_duration_seconds_bucket{le=\"0.00005\",route=\"/v1/status\"} 2",
            "trayvault_api_request_duration_seconds_bucket{le=\"60.0\",route=\"/v1/status\"} 2",
            "trayvault_api_request_duration_seconds_bucket{le=\"+Inf\",route=\"/v1/status\"} 3",
            "trayvault_api_request_duration_seconds_count{route=\"/v1/status\"} 3",
            "trayvault_api_request_duration_seconds_sum{route=\"/v1/status\"} 90.000055",
            "trayvault_api_refusals_total{reason=\"no_rule\"} 1",
            "trayvault_api_connections 1.0",
            "trayvault_more_bytes 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        drop(open);
        assert!(metrics.text(Format::OpenMetrics, |_| Ok(())).expect("text").contains("trayvault_api_connections 0.0"));
    }

    #[test]
    fn many_threads_count_together() {
        let metrics = Metrics::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| metrics.answered("/a", "GET", 200, Duration::ZERO)));
            }
        });
        let text = metrics.text(Format::OpenMetrics, |_| Ok(())).expect("text");
        assert!(text.contains("trayvault_api_requests_total{route=\"/a\",method=\"GET\",code=\"200\"} 4000"), "{text}");
    }
}
