//! Whether the judges of this cluster answer. The operator asks them by a dry run of a write of its
//! own Lease: `probe.yaml` of the chart.

pub mod words;

use std::time::Duration;

use crate::marks::values::Judge;

/// What is asked. The judges that answer write their names behind it.
pub const QUESTION: &str = "who-judges";
/// Between two questions while all is well.
const INTERVAL: Duration = Duration::from_secs(30);
/// Between two questions after one to which the webhook did not answer.
const RETRY: Duration = Duration::from_secs(5);
/// Between two questions while workloads wait to be handed over.
const HURRY: Duration = Duration::from_secs(1);
/// A pod that ends may leave one question without an answer.
const MISSES: u32 = 2;
/// A judge that answered so often in a row is in force on all API servers: each question has a
/// connection of its own.
const PROVEN: u32 = 20;

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These judges answered.
    By(Vec<Judge>),
    /// The API server refused the write: it could not ask the webhook, in its own words.
    Refused(String),
    /// Nothing is known by it: the API server did not answer.
    Nothing,
}

impl Answer {
    /// From what the question became.
    pub fn read(text: &str) -> Self {
        let names: Vec<_> = text.split(' ').skip(1).collect();
        let mut judges = vec![Judge::Policies, Judge::Webhook];
        judges.retain(|judge| names.contains(&&*judge.to_string()));
        Self::By(judges)
    }

    /// In one word, for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::By(judges) if judges.contains(&Judge::Webhook) => "Answered",
            Self::By(_) => "NotAsked",
            Self::Refused(_) => "Refused",
            Self::Nothing => "Unanswered",
        }
    }
}

/// What is known by the answers so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// How often each judge answered in a row.
    policies: u32,
    webhook: u32,
    /// How often the webhook did not in a row, and why.
    misses: u32,
    why: String,
    /// Whether the webhook ever answered.
    known: bool,
}

impl Probe {
    /// With one more answer.
    pub fn after(self, answer: &Answer) -> Self {
        let (judges, why) = match answer {
            Answer::Nothing => return self,
            Answer::By(judges) => (&judges[..], words::NOT_ASKED),
            Answer::Refused(why) => (&[][..], &**why),
        };
        let answers = judges.contains(&Judge::Webhook);
        Self {
            policies: counted(self.policies, judges.contains(&Judge::Policies)),
            webhook: counted(self.webhook, answers),
            misses: if answers { 0 } else { (self.misses + 1).min(MISSES) },
            // Ports and times in it differ each time, which is no news.
            why: match answers {
                true => String::new(),
                false if without_numbers(&self.why) == without_numbers(why) => self.why,
                false => why.to_owned(),
            },
            known: self.known || answers,
        }
    }

    /// Why the API server does not reach the webhook; none while it does, as far as is known.
    pub fn unreachable(&self) -> Option<&str> {
        let enough = if self.known { MISSES } else { 1 };
        (self.misses >= enough).then_some(&*self.why)
    }

    /// Whether a judge may be trusted with what another one judges.
    pub fn has_proven(&self, judge: Judge) -> bool {
        PROVEN
            <= match judge {
                Judge::Policies => self.policies,
                Judge::Webhook => self.webhook,
            }
    }

    /// What answers for a judge was installed again or changed. An API server takes a moment to load it,
    /// so the judge has to prove itself again.
    pub fn doubt(&mut self, judge: Judge) {
        match judge {
            Judge::Policies => self.policies = 0,
            Judge::Webhook => self.webhook = 0,
        }
    }

    /// When to ask next. `hands_over`: workloads wait for a judge to prove itself.
    pub fn pause(&self, hands_over: bool) -> Duration {
        match () {
            () if hands_over => HURRY,
            () if self.misses > 0 => RETRY,
            () => INTERVAL,
        }
    }
}

fn counted(before: u32, answers: bool) -> u32 {
    if answers { (before + 1).min(PROVEN) } else { 0 }
}

fn without_numbers(text: &str) -> impl PartialEq + use<> {
    text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answers: &[Answer]) -> Probe {
        answers.iter().fold(Probe::default(), Probe::after)
    }

    fn by(text: &str) -> Answer {
        Answer::read(&format!("{QUESTION} {text}"))
    }

    fn refused(why: &str) -> Answer {
        Answer::Refused(why.to_owned())
    }

    #[test]
    fn an_answer_names_the_judges() {
        assert_eq!(by(""), Answer::By(vec![]));
        assert_eq!(by("webhook"), Answer::By(vec![Judge::Webhook]));
        assert_eq!(by("true webhook"), Answer::By(vec![Judge::Policies, Judge::Webhook]));
        assert_eq!(Answer::read("webhook"), Answer::By(vec![]), "that is the question");
        let words = [by("true webhook"), by("true"), refused("x"), Answer::Nothing];
        let words = words.map(|answer| answer.as_str());
        assert_eq!(words, ["Answered", "NotAsked", "Refused", "Unanswered"]);
    }

    #[test]
    fn one_miss_is_none_where_it_answered_before_and_an_answer_ends_it() {
        let (yes, no) = (by("webhook"), refused("refused"));
        assert_eq!(after(&[]).unreachable(), None, "nothing is known");
        assert_eq!(after(std::slice::from_ref(&no)).unreachable(), Some("refused"), "at the start");
        let once = after(&[yes.clone(), no.clone()]);
        assert_eq!((once.unreachable(), once.pause(false)), (None, RETRY));
        // An API server that is down says nothing of the webhook.
        assert_eq!(once.clone().after(&Answer::Nothing), once);
        let twice = once.after(&no);
        assert_eq!((twice.unreachable(), twice.pause(false)), (Some("refused"), RETRY));
        assert_eq!(twice.clone().after(&no), twice, "no news");
        let well = twice.after(&yes);
        assert_eq!((well.unreachable(), well.pause(false)), (None, INTERVAL));
        assert_eq!(after(&[by("true"), by("true")]).unreachable(), Some(words::NOT_ASKED));
    }

    #[test]
    fn the_ports_in_a_reason_are_no_news_and_another_reason_is() {
        let lost = |port: u32| refused(&format!("read 10.0.0.1:{port}: connection reset"));
        let first = after(&[lost(5000), lost(5000)]);
        assert_eq!(first.clone().after(&lost(5001)), first);
        let expired = first.after(&refused("certificate has expired"));
        assert_eq!(expired.unreachable(), Some("certificate has expired"));
    }

    #[test]
    fn a_judge_has_proven_itself_when_it_answered_twenty_times_in_a_row() {
        let often = |text: &str, times: u32| (0..times).map(|_| by(text)).collect::<Vec<_>>();
        let both = after(&often("true webhook", PROVEN));
        assert!(both.has_proven(Judge::Policies) && both.has_proven(Judge::Webhook));
        assert!(!after(&often("true webhook", PROVEN - 1)).has_proven(Judge::Policies));
        // One API server of several does not know the policies yet.
        let one = both.after(&by("webhook"));
        assert!(!one.has_proven(Judge::Policies) && one.has_proven(Judge::Webhook));
        assert!(!one.clone().after(&refused("x")).has_proven(Judge::Webhook));
        assert_eq!((one.pause(true), one.pause(false)), (HURRY, INTERVAL));
    }
}
