//! From steps to items: what the collector is asked to commit.

use std::collections::VecDeque;

use bytes::Bytes;
use skidway_record::SourceId;
use skidway_record::source::NewSource;
use skidway_wire::{Item, SpanKind};

use super::Source;
use super::step::{Mark, Step};
use crate::discover::path_bytes;

impl Source {
    /// Describes the source to the collector.
    pub(super) fn described(&self, input_name: &str, supersedes: Option<SourceId>) -> NewSource {
        NewSource {
            id: self.id,
            input: input_name.to_owned(),
            topic: self.topic.clone(),
            partitioning: self.partitioning.clone(),
            physical: self.file.physical(),
            supersedes,
            head: self.file.head(),
            path: Bytes::copy_from_slice(path_bytes(&self.path)),
        }
    }

    /// Takes the next step: makes the item for it and leaves the rest of it under way. `Bytes` of batches go with the item.
    pub(in crate::pipeline) fn take_step(&mut self, input_name: &str) -> Option<Item> {
        if !self.is_sendable() {
            return None;
        }
        let mut step = self.steps.pop_front()?;
        if self.steps.is_empty() {
            self.steps = VecDeque::new();
        }
        let item = self.item(&mut step, input_name);
        self.under_way = Some(Box::new(step));
        Some(item)
    }

    fn item(&mut self, step: &mut Step, input_name: &str) -> Item {
        match step {
            Step::Create { supersedes } => Item::Create(self.described(input_name, *supersedes)),
            Step::Rebind => {
                let path = Bytes::copy_from_slice(path_bytes(&self.path));
                Item::Rebind { source: self.id, physical: self.file.physical(), path }
            }
            Step::Receive { from, position, carry } => {
                Item::HandOver { from: *from, position: *position, carry: carry.encode(), to: self.id }
            }
            Step::Skip(mark) => self.span(0, mark, SpanKind::Skipped),
            Step::Read(draft) => {
                let mut item = self.span(draft.start, &draft.mark, SpanKind::Read);
                if let Item::Span { expected_carry, batches, dead, .. } = &mut item {
                    // That an empty span was committed before only its carry can tell.
                    *expected_carry = draft.is_empty().then(|| draft.start_carry.encode());
                    draft.has_letters_only = draft.batches.is_empty() && !draft.letters.is_empty();
                    (*batches, *dead) = (std::mem::take(&mut draft.batches), std::mem::take(&mut draft.letters));
                }
                item
            }
            Step::Lost { start, mark, reason, exact } => {
                let kind = SpanKind::Lost { reason: (*reason).to_owned(), exact: *exact };
                self.span(*start, mark, kind)
            }
            Step::Gone => Item::Gone { source: self.id },
        }
    }

    fn span(&mut self, start: u64, mark: &Mark, kind: SpanKind) -> Item {
        // A copy's path comes with the copy: until then the source is known by the file that the copy is named after.
        let is_leaving = self.steps.iter().any(|step| matches!(step, Step::Rebind));
        let path_changed = !is_leaving && std::mem::take(&mut self.path_changed);
        Item::Span {
            source: self.id,
            span: start..mark.position,
            kind,
            expected_carry: None,
            carry: mark.carry.encode(),
            head: mark.head,
            anchor: mark.anchor,
            path: path_changed.then(|| Bytes::copy_from_slice(path_bytes(&self.path))),
            batches: Vec::new(),
            dead: Vec::new(),
        }
    }
}
