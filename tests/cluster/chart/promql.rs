//! As much of PromQL as the chart's alerts are written in, on one scrape: what a rule says of what
//! `/metrics` serves.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{Expr, LabelModifier, VectorSelector},
};

/// A series and its value.
pub type Sample = (BTreeMap<String, String>, f64);

/// What one scrape brought, by metric.
#[derive(Debug, Default)]
pub struct Scrape {
    samples: BTreeMap<String, Vec<Sample>>,
    /// When.
    now: f64,
}

impl Scrape {
    /// Reads the text format.
    pub fn read(text: &str, now: f64) -> Self {
        let mut scrape = Self { now, ..Self::default() };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) =
                line.rsplit_once(' ').unwrap_or_else(|| panic!("not a sample: {line}"));
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty());
            let labels = labels.map(|pair| {
                let (key, value) =
                    pair.split_once("=\"").unwrap_or_else(|| panic!("no label: {pair} in {line}"));
                (key.to_owned(), value.trim_end_matches('"').to_owned())
            });
            let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            scrape.samples.entry(name.to_owned()).or_default().push((labels.collect(), value));
        }
        scrape
    }

    /// The labels of a metric with all their values; none if there is no such metric.
    pub fn labels(&self, metric: &str) -> Option<BTreeMap<&str, BTreeSet<&str>>> {
        let mut all: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (labels, _) in self.samples.get(metric)? {
            for (key, value) in labels {
                all.entry(key).or_default().insert(value);
            }
        }
        Some(all)
    }

    /// The series that a selector selects.
    pub fn select(&self, selector: &VectorSelector) -> Vec<Sample> {
        let all =
            self.samples.get(selector.name.as_deref().unwrap_or_default()).into_iter().flatten();
        let matches = |labels: &BTreeMap<String, String>| {
            selector.matchers.matchers.iter().all(|matcher| fits(matcher, labels))
        };
        all.filter(|(labels, _)| matches(labels)).cloned().collect()
    }

    /// What an expression says. Panics at what no alert of the chart uses.
    pub fn evaluate(&self, expression: &Expr) -> Vec<Sample> {
        match expression {
            Expr::NumberLiteral(number) => vec![(BTreeMap::new(), number.val)],
            Expr::Paren(inner) => self.evaluate(&inner.expr),
            Expr::VectorSelector(selector) => self.select(selector),
            Expr::Call(call) if call.func.name == "time" => vec![(BTreeMap::new(), self.now)],
            Expr::Call(call) if call.func.name == "absent" => {
                match self.evaluate(&call.args.args[0]).as_slice() {
                    [] => vec![(BTreeMap::new(), 1.0)],
                    _ => Vec::new(),
                }
            }
            Expr::Aggregate(aggregate) if aggregate.op.to_string() == "max" => {
                let Some(LabelModifier::Exclude(without)) = &aggregate.modifier else {
                    panic!("max without (…) is known: {aggregate:?}")
                };
                let mut largest: BTreeMap<BTreeMap<String, String>, f64> = BTreeMap::new();
                for (mut labels, value) in self.evaluate(&aggregate.expr) {
                    labels.retain(|key, _| !without.labels.contains(key));
                    let seen = largest.entry(labels).or_insert(value);
                    *seen = seen.max(value);
                }
                largest.into_iter().collect()
            }
            // One side is a number: everything else would have to be matched by labels.
            Expr::Binary(binary) => {
                let (left, right) = (self.evaluate(&binary.lhs), self.evaluate(&binary.rhs));
                let number = |side: &Expr| {
                    matches!(side, Expr::NumberLiteral(_))
                        || matches!(side, Expr::Call(call) if call.func.name == "time")
                };
                assert!(
                    number(&binary.lhs) || number(&binary.rhs),
                    "one side is a number: {binary:?}"
                );
                let pairs =
                    left.iter().flat_map(|left| right.iter().map(move |right| (left, right)));
                let labels = |(left, right): &(&Sample, &Sample)| {
                    if number(&binary.lhs) { right.0.clone() } else { left.0.clone() }
                };
                match binary.op.to_string().as_str() {
                    "-" => pairs.map(|pair| (labels(&pair), pair.0.1 - pair.1.1)).collect(),
                    ">" => pairs
                        .filter(|pair| pair.0.1 > pair.1.1)
                        .map(|pair| (labels(&pair), pair.0.1))
                        .collect(),
                    "==" => pairs
                        .filter(|pair| pair.0.1 == pair.1.1)
                        .map(|pair| (labels(&pair), pair.0.1))
                        .collect(),
                    other => panic!("{other} is not used by alerts"),
                }
            }
            other => panic!("not used by alerts: {other:?}"),
        }
    }
}

fn fits(matcher: &Matcher, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&matcher.name).map_or("", String::as_str);
    match &matcher.op {
        MatchOp::Equal => value == matcher.value,
        MatchOp::NotEqual => value != matcher.value,
        MatchOp::Re(pattern) => pattern.is_match(value),
        MatchOp::NotRe(pattern) => !pattern.is_match(value),
    }
}

/// Every selector in an expression, those under ranges included, and every label by which something
/// is grouped.
pub fn selectors(expression: &Expr) -> (Vec<&VectorSelector>, Vec<&str>) {
    let (mut found, mut grouped, mut open) = (Vec::new(), Vec::new(), vec![expression]);
    while let Some(one) = open.pop() {
        match one {
            Expr::VectorSelector(selector) => found.push(selector),
            Expr::MatrixSelector(range) => found.push(&range.vs),
            Expr::Paren(inner) => open.push(&inner.expr),
            Expr::Unary(inner) => open.push(&inner.expr),
            Expr::Subquery(inner) => open.push(&inner.expr),
            Expr::Binary(binary) => open.extend([&*binary.lhs, &*binary.rhs]),
            Expr::Call(call) => open.extend(call.args.args.iter().map(|one| &**one)),
            Expr::Aggregate(aggregate) => {
                if let Some(LabelModifier::Include(by)) = &aggregate.modifier {
                    grouped.extend(by.labels.iter().map(String::as_str));
                }
                open.push(&aggregate.expr);
            }
            _ => {}
        }
    }
    (found, grouped)
}
