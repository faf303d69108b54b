//! How deliveries are settled: done, given back, kept longer. Answers wait until what they say is durable.

use std::collections::BTreeSet;

use skidway_record::TopicName;
use skidway_wire::queues::SettleResult;

use super::super::QueueError;
use super::super::ask::{How, Reply, refuse};
use super::super::desk::{Desk, To};
use super::super::partition::Partition;
use super::super::receipt::Receipt;
use super::super::settings::Settings;
use super::super::share::{Delivery, Settled};
use super::Queue;
use crate::metrics;

impl Queue {
    /// Settles deliveries; the answer waits until what it says is durable.
    pub fn settle(
        &mut self,
        desk: &mut Desk,
        receipts: &[Receipt],
        how: &How,
        reply: Reply<Vec<SettleResult>>,
        now: i64,
    ) {
        let of = self.receipts_of();
        if let Some(index) = receipts.iter().position(|receipt| receipt.of[..4] != of[..4]) {
            return refuse(reply, QueueError::InvalidReceipt { index, queue: self.name.clone() });
        }
        let (answer, mut left) = (desk.next_answer(), 0);
        let (mut results, mut touched) = (Vec::with_capacity(receipts.len()), BTreeSet::new());
        for receipt in receipts {
            let number = receipt.partition as usize;
            // A topic that is not there any more has no records to settle.
            let Some(partition) = self.partitions.get_mut(number).filter(|_| receipt.of == of) else {
                results.push(SettleResult::AlreadyDone);
                continue;
            };
            let settled = settle(partition, receipt.delivery, how, &self.settings, now);
            match settled {
                Settled::Done if *how == How::Ack => partition.forget(receipt.delivery.offset, desk),
                Settled::Dying => {
                    partition.need_letter(receipt.delivery.offset, answer);
                    left += 1;
                }
                _ => {}
            }
            let is_change = matches!(settled, Settled::Done | Settled::Dying) && !matches!(how, How::Extend { .. });
            if is_change || (settled == Settled::Before && partition.is_behind()) {
                touched.insert(number);
            }
            results.push(shown(settled));
        }
        for number in &touched {
            let partition = &mut self.partitions[*number];
            partition.dirty = true;
            partition.needs.push(answer);
        }
        count(&self.name, how, &results);
        desk.owe(answer, left + touched.len(), To::Settler(reply, results));
        self.wake(desk);
        self.serve(desk, now);
    }
}

fn settle(partition: &mut Partition, delivery: Delivery, how: &How, settings: &Settings, now: i64) -> Settled {
    let share = &mut partition.share;
    match how {
        How::Ack => share.ack(delivery),
        How::Extend { lease_ms } => share.extend(delivery, now + lease_ms.unwrap_or(settings.lease_ms) as i64),
        How::Nack { delay_ms, dead, reason } => {
            let until = now + delay_ms.unwrap_or_else(|| settings.backoff_ms(delivery.number)) as i64;
            share.nack(delivery, until, now, settings.max_deliveries, *dead, reason)
        }
    }
}

fn shown(settled: Settled) -> SettleResult {
    match settled {
        Settled::Done => SettleResult::Done,
        Settled::Dying => SettleResult::DeadLettered,
        Settled::Before => SettleResult::AlreadyDone,
        Settled::Lost | Settled::Unknown => SettleResult::LeaseExpired,
    }
}

fn count(queue: &TopicName, how: &How, results: &[SettleResult]) {
    let how = match how {
        How::Ack => "ack",
        How::Nack { .. } => "nack",
        How::Extend { .. } => "extend",
    };
    let done = results.iter().filter(|it| matches!(it, SettleResult::Done | SettleResult::DeadLettered)).count();
    metrics::queue_settled(queue.as_str(), how, done as u64, (results.len() - done) as u64);
}
