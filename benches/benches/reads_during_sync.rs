//! How much longer a caller waits for a secret while the daemon pulls at the full rate that Tray permits.
//!
//! Two daemons hold the same number of authentications, and are asked for `GET /v1/authentications/{id}/full` in turns
//! at a steady and modest rate: while neither has anything else to do, while the one pulls, and while the other one
//! does. Whatever else the machine does, the emulators included, both are asked in the same seconds: so what one waits
//! longer for the one that pulls is the daemon's own doing. Seconds in which programs that have no part in this kept the
//! machine busy are left out, whatever was measured in them.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use trayvault_benches::{
    BODY_LEN,
    house::{Connection, Daemon, EMULATOR_THREADS, House, Tray},
    ratio,
};
use uuid::Uuid;

const USERS: usize = 200;
const AUTHENTICATIONS_EACH: usize = 10;

const MOST_OF_IDLE: f64 = 2.0;

/// The rounds end once so many reads from a daemon that synchronises were made in quiet seconds, or after so many rounds.
const QUIET_READS: usize = 90_000;
const MOST_ROUNDS: usize = 20;
const IDLE: Duration = Duration::from_secs(30);
/// A cycle takes longer.
const BUSY: Duration = Duration::from_secs(60);
/// To each daemon.
const CONNECTIONS: u64 = 2;
/// Of each daemon.
const READS_A_SECOND: u32 = 500;

/// What all other programs may take of one processor in a second that counts.
const MOST_FOREIGN_PERCENT: f64 = 50.0;
const SECOND: Duration = Duration::from_secs(1);

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The kernel's clock tick, which processor time is told in.
const TICK: Duration = Duration::from_millis(10);

/// A daemon, its Tray, and what it holds.
struct Side {
    tray: Tray,
    house: House,
    daemon: Daemon,
    ids: Vec<Uuid>,
}

impl Side {
    fn start() -> Self {
        let tray = Tray::start(USERS, AUTHENTICATIONS_EACH);
        // Whatever was pulled is due again in the next cycle, and no cycle begins unasked.
        let house = House::new(Some(&tray), "refresh_after = \"1s\", interval = \"1h\"");
        let daemon = house.daemon();
        let ids = tray.world().authentications().iter().map(|one| one.id).collect();
        Self { tray, house, daemon, ids }
    }

    fn is_syncing(&self) -> bool {
        self.house.ask("GET", "/v1/status")["sync"]["running"] == true
    }

    #[expect(clippy::cast_precision_loss, reason = "requests are few")]
    fn requests(&self) -> f64 {
        self.tray.world().state().requests.values().sum::<u64>() as f64
    }

    fn read(&self, connection: &mut Connection, random: &mut fastrand::Rng) {
        let id = self.ids[random.usize(..self.ids.len())];
        let body = connection.ask("GET", &format!("/v1/authentications/{id}/full")).expect("an answer");
        assert!(body.len() > BODY_LEN, "it is answered in full");
    }
}

/// What a read took.
#[derive(Clone, Copy)]
struct Read {
    side: usize,
    asked: Instant,
    latency: Duration,
    is_quiet: bool,
}

/// Reads from both for a while, and tells what was done meanwhile.
fn read(sides: &[Side; 2], time: Duration) -> [Vec<Read>; 2] {
    let (before, start) = (Spent::now(sides), Instant::now());
    let (reads, is_quiet) = thread::scope(|scope| {
        let reader = |seed| scope.spawn(move || reader(sides, seed, start + time));
        let readers: Vec<_> = (0..CONNECTIONS).map(reader).collect();
        let mut is_quiet = Vec::new();
        while start.elapsed() < time {
            let (before, second) = (Spent::now(sides), Instant::now());
            thread::sleep(SECOND);
            let foreign = Spent::now(sides).since(&before).foreign();
            is_quiet.push(percent(foreign, second.elapsed()) <= MOST_FOREIGN_PERCENT);
        }
        let reads = readers.into_iter().flat_map(|reader| reader.join().expect("all reads are answered"));
        (reads.collect::<Vec<_>>(), is_quiet)
    });
    let (spent, took) = (Spent::now(sides).since(&before), start.elapsed());
    println!(
        "  {} of {} seconds were quiet; of a processor the emulators took {:.1} %, all of this process {:.1} %",
        is_quiet.iter().filter(|is_quiet| **is_quiet).count(),
        is_quiet.len(),
        percent(spent.emulators, took),
        percent(spent.here, took)
    );
    let mut of_sides = [Vec::new(), Vec::new()];
    for read in reads {
        let second = usize::try_from((read.asked - start).as_secs()).expect("a short time");
        of_sides[read.side].push(Read { is_quiet: is_quiet.get(second) == Some(&true), ..read });
    }
    for (side, reads) in of_sides.iter().enumerate() {
        println!(
            "  daemon {side}: {:.1} requests/s to Tray, {:.1} % of a processor; {}",
            spent.requests[side] / took.as_secs_f64(),
            percent(spent.daemons[side], took),
            Quantiles::of(reads.iter())
        );
    }
    of_sides
}

/// Reads from either in turns, over one connection each. Where an answer is late for the next request, the next one's
/// wait begins when it was due.
fn reader(sides: &[Side; 2], seed: u64, end: Instant) -> Vec<Read> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut connections = sides.each_ref().map(|side| side.house.connect());
    let period = Duration::from_secs(CONNECTIONS) / READS_A_SECOND / 2;
    let mut due = Instant::now() + period.mul_f64(random.f64());
    let mut reads = Vec::new();
    for side in [0, 1].into_iter().cycle() {
        let early = due.saturating_duration_since(Instant::now());
        thread::sleep(early);
        let asked = if early.is_zero() { due } else { Instant::now() };
        sides[side].read(&mut connections[side], &mut random);
        reads.push(Read { side, asked, latency: asked.elapsed(), is_quiet: false });
        due += period;
        if due > end {
            break;
        }
    }
    reads
}

struct Quantiles {
    reads: usize,
    p50: Duration,
    p90: Duration,
    p99: Duration,
}

impl Quantiles {
    fn of<'a>(reads: impl Iterator<Item = &'a Read>) -> Self {
        let mut latencies: Vec<_> = reads.map(|read| read.latency).collect();
        latencies.sort_unstable();
        let reads = latencies.len();
        let quantile = |percent: usize| latencies.get(reads * percent / 100).copied().unwrap_or_default();
        Self { reads, p50: quantile(50), p90: quantile(90), p99: quantile(99) }
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} reads: p50 {:.2?}, p90 {:.2?}, p99 {:.2?}", self.reads, self.p50, self.p90, self.p99)
    }
}

/// What was spent so far: processor time in ticks, and requests.
struct Spent {
    daemons: [f64; 2],
    requests: [f64; 2],
    emulators: f64,
    /// This process, the emulators included.
    here: f64,
    machine: f64,
}

impl Spent {
    fn now(sides: &[Side; 2]) -> Self {
        let threads = fs::read_dir("/proc/self/task").expect("threads").map(|thread| thread.expect("a thread").path());
        let is_emulator = |thread: &PathBuf| {
            fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim() == EMULATOR_THREADS)
        };
        Self {
            daemons: sides.each_ref().map(|side| ticks(&Path::new("/proc").join(side.daemon.id().to_string()))),
            requests: sides.each_ref().map(Side::requests),
            emulators: threads.filter(is_emulator).map(|thread| ticks(&thread)).sum(),
            here: ticks(Path::new("/proc/self")),
            machine: ticks_of_all(),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            daemons: [0, 1].map(|side| self.daemons[side] - before.daemons[side]),
            requests: [0, 1].map(|side| self.requests[side] - before.requests[side]),
            emulators: self.emulators - before.emulators,
            here: self.here - before.here,
            machine: self.machine - before.machine,
        }
    }

    /// What has no part in this.
    fn foreign(&self) -> f64 {
        self.machine - self.here - self.daemons.iter().sum::<f64>()
    }
}

/// Of one processor.
fn percent(ticks: f64, time: Duration) -> f64 {
    ticks * TICK.as_secs_f64() / time.as_secs_f64() * 100.0
}

/// What a process or a thread has spent, in the kernel and outside of it (proc_pid_stat(5), fields 14 and 15).
fn ticks(process: &Path) -> f64 {
    let stat = fs::read_to_string(process.join("stat")).expect("it runs");
    let (_, after_the_name) = stat.rsplit_once(')').expect("a name");
    let fields = after_the_name.split_whitespace().skip(11).take(2);
    fields.map(|field| field.parse::<f64>().expect("a number")).sum()
}

/// What all processors have spent, but for idling and for waiting for a disk (proc_stat(5)).
fn ticks_of_all() -> f64 {
    let stat = fs::read_to_string("/proc/stat").expect("statistics");
    let fields = stat.lines().next().expect("a line of all processors").split_whitespace().skip(1).take(8);
    let fields: Vec<f64> = fields.map(|field| field.parse().expect("a number")).collect();
    fields.iter().sum::<f64>() - fields[3] - fields[4]
}

fn main() {
    let sides = [Side::start(), Side::start()];
    while sides.iter().any(Side::is_syncing) {
        thread::sleep(LOOK_EVERY);
    }
    println!(
        "each daemon holds {} authentications; {READS_A_SECOND} reads/s of each over {CONNECTIONS} connections",
        sides[0].ids.len()
    );
    let (mut idle, mut busy, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    let is_quiet = |read: &&Read| read.is_quiet;
    for round in 1..=MOST_ROUNDS {
        for (number, syncing) in sides.iter().enumerate() {
            println!("round {round}, both idle:");
            idle.extend(read(&sides, IDLE).into_iter().flatten());
            println!("round {round}, daemon {number} synchronises:");
            let mut reads = thread::scope(|scope| {
                let cycle = scope.spawn(|| syncing.house.ask("POST", "/v1/sync"));
                while !syncing.is_syncing() {
                    thread::sleep(LOOK_EVERY);
                }
                let reads = read(&sides, BUSY);
                assert!(syncing.is_syncing(), "it synchronised all the while");
                assert_eq!(cycle.join().expect("a report")["failed"], 0);
                reads
            });
            busy.append(&mut reads[number]);
            beside.append(&mut reads[1 - number]);
        }
        if busy.iter().filter(is_quiet).count() >= QUIET_READS {
            break;
        }
    }
    assert!(sides.iter().all(|side| side.tray.world().limit_rejections() == 0), "none was over the limit");

    let all = [idle, busy, beside];
    println!("in all seconds:");
    report(all.each_ref().map(|reads| Quantiles::of(reads.iter())));
    println!("in quiet seconds:");
    let [p50, p99] = report(all.each_ref().map(|reads| Quantiles::of(reads.iter().filter(is_quiet))));
    println!("synchronising / idle = {p99:.2} at p99 (target: at most {MOST_OF_IDLE}), {p50:.2} at p50");
}

/// Shows what reads took; how many times what an idle daemon takes they take of one that synchronises, at the median and
/// at the last percent.
fn report([idle, busy, beside]: [Quantiles; 3]) -> [f64; 2] {
    println!("  both idle: {idle}");
    println!("  idle while the other one synchronises: {beside}");
    println!("  synchronising: {busy}");
    println!("  p99: idle beside one that synchronises / both idle = {:.2}", ratio(beside.p99, idle.p99));
    println!("  p99: synchronising / both idle = {:.2}", ratio(busy.p99, idle.p99));
    println!("  p99: synchronising / idle in the same seconds = {:.2}", ratio(busy.p99, beside.p99));
    [ratio(busy.p50, beside.p50), ratio(busy.p99, beside.p99)]
}
