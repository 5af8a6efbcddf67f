//! Two who undo each other: they write the same two templates in turn, again and again, such as a
//! bot that sets a newer image and a GitOps controller that sets it back. Told once, with both
//! names, instead of one event for each change.

use crate::core::{
    finding::Assessment,
    hold::{state::Hold, volatile::differing},
    memory::SeenTemplate,
    notice::Event,
    observed::Template,
    subject::Subject,
    writers::{By, Write},
};

/// Takes note of who changed the template, and tells if two undo each other.
pub fn note(subject: &Subject, hold: Option<&Hold>, found: &mut Assessment) {
    let (template, before) = (&subject.workload.template, subject.memory.template.as_ref());
    let by = match hold {
        Some(hold) if subject.memory.hold.as_ref() != Some(&hold.id) => By::User(hold.by.clone()),
        None if before.is_some_and(|before| before.digest != template.digest) => {
            match &subject.workload.template_writer {
                Some(manager) => By::Manager(person(manager).to_owned()),
                None => return,
            }
        }
        _ => return,
    };
    let fields = before.map(|before| differences(before, template)).unwrap_or_default();
    let write = Write { at: subject.now(), by, template: template.digest };
    if found.memory.writers.note(write, fields)
        && let Some(message) = found.memory.writers.message(subject.now())
    {
        found.notices.push((Event::ConflictingWriters, message));
    }
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
