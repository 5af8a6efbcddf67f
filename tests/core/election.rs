//! Many elections with everything going wrong: never do two replicas act, and one always does in
//! the end.

use std::{collections::BTreeMap, time::Duration};

use lockkeeper::core::lease::{Answer, Identity, Participant, Record, Step, Timing};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{lease::let_go, world::at};

/// A request on its way.
#[derive(Clone)]
struct Call {
    step: Step,
    by: usize,
}

/// What happens at a time, in true milliseconds.
#[derive(Clone)]
enum Event {
    /// A process comes round.
    Wake(usize, u64),
    /// A request takes effect, and its answer takes so long, if it arrives at all.
    Effect(Call, u64, Option<u64>),
    /// An answer has arrived, or the call's time is up.
    Ended(usize, u64, Answer),
    /// A process is told to stop; another takes its place.
    Stop(usize),
    /// A process is killed, this one or any; its container starts again.
    Kill(usize, Option<u64>),
    /// A pod is lost; another takes its place.
    Lose(usize),
    /// Nothing from this process reaches the API server for so long.
    Cut(usize, u64),
    /// A person or a program does something to the Lease.
    Tamper,
}

struct Process {
    participant: Participant,
    /// The number of its pod: a later one in its place is another.
    pod: u64,
    /// Its monotonic clock: what it showed at the true time 0, and its rate in millionths.
    offset: u64,
    rate: u64,
    /// Its wall clock, in seconds off.
    skew: i64,
    /// It does nothing until then.
    paused_until: u64,
    /// Its requests are lost until then.
    cut_until: u64,
    /// The number of its wait or call: what belongs to an earlier one is ignored.
    turn: u64,
    stopping: bool,
    names: u64,
}

/// The process of a container that has so many before it in its place, and as many in all.
fn named(place: usize, pod: u64, process: u64) -> Participant {
    let container = format!("{place}_{pod}_");
    Participant::new(
        Identity { process: format!("{container}{process}"), container: Some(container) },
        Timing::default(),
    )
}

impl Process {
    fn clock(&self, time: u64) -> Duration {
        Duration::from_micros((self.offset + time) * self.rate / 1000)
    }

    /// The true time when its clock shows this.
    fn time(&self, clock: Duration) -> u64 {
        (clock.as_micros() as u64 * 1000).div_ceil(self.rate).saturating_sub(self.offset)
    }

    fn acts(&self, time: u64) -> bool {
        self.participant.may_act(self.clock(time))
    }
}

/// 1 %: the clocks of machines in one cluster are far better.
const RATES: [u64; 4] = [990_000, 1_000_000, 1_003_000, 1_010_000];

struct Election {
    random: StdRng,
    /// From then on nothing goes wrong any more.
    calm_from: u64,
    /// From then on somebody should act: what went wrong before has passed.
    judged_from: u64,
    /// The API server answers nothing until then.
    down_until: u64,
    lease: Option<Record>,
    version: u64,
    past: Vec<Record>,
    processes: Vec<Process>,
    events: BTreeMap<(u64, u64), Event>,
    count: u64,
    /// When terms began, and who acted.
    terms: Vec<(u64, usize)>,
    /// Since when nobody acts, or when the term ends that is.
    idle_since: u64,
    longest_idle: u64,
    log: Option<Vec<String>>,
}

impl Election {
    fn new(seed: u64, calm_from: u64, judged_from: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let processes = (0..random.random_range(2..=3))
            .map(|number| Process {
                participant: named(number, 0, 0),
                pod: 0,
                offset: random.random_range(0..1_000_000),
                rate: RATES[random.random_range(0..RATES.len())],
                skew: random.random_range(-7200..7200),
                paused_until: 0,
                cut_until: 0,
                turn: 0,
                stopping: false,
                names: 0,
            })
            .collect::<Vec<_>>();
        let mut election = Self {
            random,
            calm_from,
            judged_from,
            down_until: 0,
            lease: None,
            version: 0,
            past: Vec::new(),
            processes,
            events: BTreeMap::new(),
            count: 0,
            terms: Vec::new(),
            idle_since: 0,
            longest_idle: 0,
            log: None,
        };
        for number in 0..election.processes.len() {
            let start = election.random.random_range(0..3000);
            election.at(start, Event::Wake(number, 0));
        }
        if election.random.random_bool(0.5) {
            election.lease = Some(let_go(0));
        }
        election
    }

    fn chance(&mut self, time: u64, probability: f64) -> bool {
        time < self.calm_from && self.random.random_bool(probability)
    }

    fn at(&mut self, time: u64, event: Event) {
        self.count += 1;
        self.events.insert((time, self.count), event);
    }

    /// Plans what goes wrong from outside.
    fn trouble(&mut self, restarts: u32, tampering: u32) {
        for _ in 0..restarts {
            let (time, number) = (
                self.random.random_range(0..self.calm_from),
                self.random.random_range(0..self.processes.len()),
            );
            let event = match self.random.random_range(0..4) {
                0 | 1 => Event::Stop(number),
                2 => Event::Kill(number, None),
                _ => Event::Lose(number),
            };
            self.at(time, event);
        }
        for _ in 0..2 {
            let (time, number) = (
                self.random.random_range(0..self.calm_from),
                self.random.random_range(0..self.processes.len()),
            );
            let long = self.random.random_range(0..40_000);
            self.at(time, Event::Cut(number, long));
        }
        for _ in 0..tampering {
            let time = self.random.random_range(0..self.calm_from);
            self.at(time, Event::Tamper);
        }
    }

    /// Runs until this time. Never may two act.
    fn run(&mut self, end: u64) -> Result<(), String> {
        while let Some((&(time, _), _)) = self.events.first_key_value() {
            if time >= end {
                break;
            }
            let before = self.acting(time);
            self.happen_next();
            let acting = self.acting(time);
            if acting.len() > 1 {
                return Err(format!(
                    "{acting:?} act at {time} ms\n{}",
                    self.log.iter().flatten().cloned().collect::<Vec<_>>().join("\n")
                ));
            }
            self.terms.extend(
                acting
                    .iter()
                    .filter(|number| !before.contains(number))
                    .map(|&number| (time, number)),
            );
            // Terms begin at events only; they may end between two.
            self.longest_idle =
                self.longest_idle.max(time.saturating_sub(self.idle_since.max(self.judged_from)));
            self.idle_since = match acting.first() {
                Some(&number) => {
                    self.processes[number].time(self.processes[number].participant.acts_until())
                }
                None => self.idle_since.min(time),
            };
        }
        Ok(())
    }

    fn acting(&self, time: u64) -> Vec<usize> {
        (0..self.processes.len()).filter(|&number| self.processes[number].acts(time)).collect()
    }

    fn happen_next(&mut self) {
        if let Some(((time, _), event)) = self.events.pop_first() {
            self.happen(time, event);
        }
    }

    fn happen(&mut self, time: u64, event: Event) {
        match event {
            Event::Wake(number, turn) | Event::Ended(number, turn, _)
                if self.processes[number].turn != turn => {}
            Event::Wake(number, _) | Event::Ended(number, ..)
                if time < self.processes[number].paused_until =>
            {
                let later = self.processes[number].paused_until;
                self.at(later, event);
            }
            Event::Wake(number, _) => self.come_round(time, number),
            Event::Ended(number, _, answer) => {
                let process = &mut self.processes[number];
                process.turn += 1;
                process.participant.answered(answer.clone(), process.clock(time));
                self.note(time, number, || format!("{answer:?}"));
                self.come_round(time, number);
            }
            Event::Effect(call, turn, answer_after) => {
                let answer = if time < self.down_until {
                    Answer::Unanswered
                } else {
                    self.take_effect(&call.step)
                };
                self.note(time, call.by, || format!("{:?} has effect: {answer:?}", call.step));
                if let Some(after) = answer_after {
                    self.at(time + after, Event::Ended(call.by, turn, answer));
                }
            }
            Event::Stop(number) => {
                let process = &mut self.processes[number];
                if !process.stopping {
                    process.stopping = true;
                    process.participant.stop(process.clock(time));
                    self.note(time, number, || "is told to stop".to_owned());
                    let (turn, name) = (self.processes[number].turn, self.processes[number].names);
                    self.at(time, Event::Wake(number, turn));
                    // Unless it has ended by itself.
                    self.at(time + 6000, Event::Kill(number, Some(name)));
                }
            }
            Event::Kill(number, name) => {
                if name.is_none_or(|name| name == self.processes[number].names) {
                    self.restart(time, number, false);
                }
            }
            Event::Lose(number) => self.restart(time, number, true),
            Event::Cut(number, long) => self.processes[number].cut_until = time + long,
            Event::Tamper => self.tamper(time),
        }
    }

    fn restart(&mut self, time: u64, number: usize, other_pod: bool) {
        let process = &mut self.processes[number];
        (process.names, process.turn, process.stopping) =
            (process.names + 1, process.turn + 1, false);
        process.pod += u64::from(other_pod);
        process.participant = named(number, process.pod, process.names);
        (process.paused_until, process.cut_until) = (0, 0);
        let turn = process.turn;
        self.note(time, number, || "starts again".to_owned());
        let later = time + self.random.random_range(0..3000);
        self.at(later, Event::Wake(number, turn));
    }

    fn come_round(&mut self, time: u64, number: usize) {
        if self.chance(time, 0.03) {
            self.processes[number].paused_until = time + self.random.random_range(0..40_000);
        }
        let process = &mut self.processes[number];
        process.turn += 1;
        let (clock, turn) = (process.clock(time), process.turn);
        let step = process.participant.step(clock, at(time as i64 / 1000 + process.skew));
        match step {
            Step::Rest(until) => {
                let until = process.time(until).max(time + 1);
                self.at(until, Event::Wake(number, turn));
            }
            Step::End => self.restart(time, number, true),
            step => {
                self.note(time, number, || format!("asks {step:?}"));
                self.send(time, number, step);
            }
        }
    }

    fn send(&mut self, time: u64, by: usize, step: Step) {
        let turn = self.processes[by].turn;
        let given_up = self.processes[by]
            .time(self.processes[by].clock(time) + Timing::default().call)
            .max(time + 1);
        self.at(given_up, Event::Ended(by, turn, Answer::Unanswered));
        // A pause of the process falls between the reading of its clock and the sending as well.
        let sent =
            if self.chance(time, 0.5) { time.max(self.processes[by].paused_until) } else { time };
        if self.chance(time, 0.08) || time < self.processes[by].cut_until {
            return;
        }
        let way = |election: &mut Self| match election.chance(time, 0.15) {
            true => election.random.random_range(0..30_000),
            false => election.random.random_range(1..60),
        };
        let (there, back) = (way(self), way(self));
        let back = (!self.chance(time, 0.1)).then_some(back);
        if self.chance(time, 0.01) {
            self.down_until = time + self.random.random_range(0..30_000);
        }
        self.at(sent + there, Event::Effect(Call { step, by }, turn, back));
    }

    fn take_effect(&mut self, step: &Step) -> Answer {
        let write = match step {
            Step::Create(record) if self.lease.is_none() => record,
            Step::Replace(record)
                if self.lease.as_ref().is_some_and(|lease| lease.version == record.version) =>
            {
                record
            }
            Step::Create(_) | Step::Replace(_) => return Answer::Refused,
            _ => return self.lease.clone().map_or(Answer::Absent, Answer::Lease),
        };
        Answer::Lease(self.store(write))
    }

    fn store(&mut self, record: &Record) -> Record {
        self.version += 1;
        let record = Record { version: self.version.to_string(), ..record.clone() };
        self.past.push(record.clone());
        self.lease = Some(record.clone());
        record
    }

    /// Anything but to say, for somebody who acts, that he let go. What somebody else writes is
    /// known to be his.
    fn tamper(&mut self, time: u64) {
        let held = self.lease.clone().filter(|lease| lease.seconds != Some(1));
        match (self.random.random_range(0..5), held) {
            (0, _) => self.lease = None,
            (1, Some(lease)) => drop(self.store(&Record {
                holder: String::new(),
                written_by_holder: false,
                ..lease
            })),
            (2, Some(lease)) => drop(self.store(&Record {
                holder: "somebody".into(),
                written_by_holder: false,
                ..lease
            })),
            (3, Some(lease)) => {
                drop(self.store(&Record { version: lease.version, ..Record::default() }))
            }
            _ => {
                // What another held not long ago is restored.
                let now = self.lease.as_ref().map_or("", |lease| &lease.holder);
                let old: Vec<_> = self
                    .past
                    .iter()
                    .filter(|old| !old.holder.is_empty() && old.holder != now)
                    .rev()
                    .take(6)
                    .cloned()
                    .collect();
                if !old.is_empty() {
                    let old = Record {
                        written_by_holder: false,
                        ..old[self.random.random_range(0..old.len())].clone()
                    };
                    self.store(&old);
                }
            }
        }
        let now = self.lease.clone();
        self.note(time, 9, || format!("somebody tampers: {now:?}"));
    }

    fn note(&mut self, time: u64, number: usize, text: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(format!("{time} {number}: {}", text()));
        }
    }
}

/// Three minutes of trouble, a minute and a half until what is delayed or paused has come to its
/// end, and two minutes of peace.
fn troubled(seed: u64, log: bool) -> Result<Election, String> {
    let trouble = 180_000;
    let mut election = Election::new(seed, trouble, trouble + 90_000);
    election.log = log.then(Vec::new);
    election.trouble(4, [0, 6, 0, 30][seed as usize % 4]);
    election.run(trouble + 210_000)?;
    Ok(election)
}

#[test]
fn never_do_two_replicas_act_and_after_the_trouble_one_always_does() {
    let mut terms = 0;
    for seed in 0..500 {
        let election = troubled(seed, false).unwrap_or_else(|_| {
            panic!("seed {seed}: {}", troubled(seed, true).err().unwrap_or_default())
        });
        assert_eq!(election.longest_idle, 0, "seed {seed}: nobody acts for so many ms");
        terms += election.terms.len();
    }
    assert!(terms > 2000, "it was no empty promise: {terms} terms");
}

/// For so many ms a replica that begins to lead looks what the one before it did last.
const TAKE_OVER: u64 = 500;

/// The gap between two terms, when this happens to who leads.
fn gap(seed: u64, happening: impl Fn(usize) -> Event) -> (usize, u64, usize) {
    let mut election = Election::new(seed, 0, 0);
    election.run(40_000).unwrap();
    let leader = election.acting(40_000)[0];
    assert_eq!(election.terms.len(), 1, "seed {seed}: without trouble there is one term");
    election.at(40_000, happening(leader));
    election.longest_idle = 0;
    election.run(80_000).unwrap();
    assert_eq!(election.terms.len(), 2, "seed {seed}: it passes on once");
    (leader, election.longest_idle, election.terms[1].1)
}

#[test]
fn a_leader_that_ends_is_replaced_within_two_seconds() {
    for seed in 0..50 {
        let (_, gap, _) = gap(seed, Event::Stop);
        assert!(gap + TAKE_OVER <= 2000, "seed {seed}: {gap} ms");
    }
}

#[test]
fn a_leader_that_is_lost_is_replaced_within_fifteen_seconds() {
    for seed in 0..50 {
        let (_, gap, _) = gap(seed, Event::Lose);
        assert!(gap > 10_000 && gap + TAKE_OVER <= 15_000, "seed {seed}: {gap} ms");
    }
}

/// Within the time until the process is there again, and two requests.
#[test]
fn a_leader_that_is_killed_and_starts_again_takes_its_own_lease_back_at_once() {
    for seed in 0..50 {
        let (leader, gap, next) = gap(seed, |leader| Event::Kill(leader, None));
        assert!(next == leader && gap < 3000 + 500, "seed {seed}: {gap} ms");
    }
}

#[test]
fn a_leader_that_is_cut_off_has_stopped_well_before_another_acts() {
    for seed in 0..50 {
        let (leader, gap, next) = gap(seed, |leader| Event::Cut(leader, 60_000));
        assert!(next != leader && (4000..7800).contains(&gap), "seed {seed}: {gap} ms");
    }
}
