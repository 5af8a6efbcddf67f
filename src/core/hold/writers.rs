//! Two who undo each other: they write the same two templates in turn, again and again, such as a
//! bot that sets a newer image and a GitOps controller that sets it back. Told once, with both
//! names, instead of one event for each change.

use crate::core::{
    hold::{state::Hold, volatile::differing},
    memory::SeenTemplate,
    observed::Template,
    subject::Subject,
    writers::{By, Write, Writers},
};

/// Who changed the template lately, and what to tell if two undo each other since this change; none
/// if nobody has changed it.
pub fn note(subject: &Subject, hold: Option<&Hold>) -> Option<(Writers, Option<String>)> {
    let (template, before) = (&subject.workload.template, subject.memory.template.as_ref());
    let by = match hold {
        Some(hold) if subject.memory.hold.as_ref() != Some(&hold.id) => By::User(hold.by.clone()),
        None if before.is_some_and(|before| before.digest != template.digest) => {
            By::Manager(person(subject.workload.template_writer.as_ref()?).to_owned())
        }
        _ => return None,
    };
    let fields = before.map(|before| differences(before, template)).unwrap_or_default();
    let write = Write { at: subject.now(), by, template: template.digest };
    let mut writers = subject.memory.writers.clone();
    let begins = writers.note(write, fields);
    let told = writers.conflict(subject.now()).filter(|_| begins).map(|two| two.to_string());
    Some((writers, told))
}

/// One person uses several commands of kubectl, each with a field manager of its own.
fn person(manager: &str) -> &str {
    if manager.starts_with("kubectl-") { "kubectl" } else { manager }
}

/// Images and annotations that two templates differ in.
fn differences(before: &SeenTemplate, now: &Template) -> Vec<String> {
    let annotations = differing(&before.annotations, &now.annotations);
    let images = differing(&before.images, &now.images);
    let annotations =
        annotations.into_iter().map(|key| format!("spec.template.metadata.annotations[{key}]"));
    annotations
        .chain(
            images.into_iter().map(|name| format!("spec.template.spec.containers[{name}].image")),
        )
        .collect()
}
