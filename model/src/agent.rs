//! One process of an agent: opens a session, lists what the collector knows, then ships each file, one item of it at a time.
//!
//! It keeps nothing that outlives it: a new process is one that lost all state. Its checkpoint is a hint, which only a broken rule reads.

use crate::log::{SourceId, Sources};
use crate::network::{Answer, Item, Request};
use crate::rules::Rules;

/// Holds where a process is with one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Followed {
    /// Its source; `None` while the file is unknown.
    pub source: Option<SourceId>,
    /// Up to where the collector acknowledged.
    pub position: u8,
    /// The item under way.
    pub under_way: Option<Item>,
    /// The collector was told that the file is gone.
    pub is_reported_gone: bool,
}

/// Is a process, by what it does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Process {
    /// Waits for a session.
    Opening {
        /// The sources, where the list came first.
        listed: Option<Sources>,
        /// The newest session it has heard of.
        after: u8,
    },
    /// Waits for the list of sources.
    Listing {
        /// Its session; 0 where the list comes first.
        epoch: u8,
    },
    /// Ships.
    Following {
        /// Its session.
        epoch: u8,
        /// By file.
        files: Vec<Followed>,
    },
    /// Was fenced, and ended.
    Fenced,
}

/// Says what an answer means beyond the process itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// Up to here a file is acknowledged.
    Acknowledged(usize, u8),
}

impl Process {
    /// Begins.
    pub fn start(rules: &Rules) -> Self {
        if rules.sources_are_listed_in_the_session {
            Self::Opening { listed: None, after: 0 }
        } else {
            Self::Listing { epoch: 0 }
        }
    }

    /// Lists the requests whose answers it waits for.
    pub fn awaited(&self, process: usize) -> Vec<Request> {
        match self {
            Self::Opening { after, .. } => vec![Request::Open { process, after: *after }],
            Self::Listing { epoch } => vec![Request::List { process, epoch: *epoch }],
            Self::Following { epoch, files } => {
                let commit = |item| Request::Commit { process, epoch: *epoch, item };
                files.iter().filter_map(|file| file.under_way.map(commit)).collect()
            }
            Self::Fenced => Vec::new(),
        }
    }

    /// Begins to follow with what the collector knows, or with a checkpoint where a broken rule trusts that. Gives reports of files that are gone.
    pub fn follow(
        &mut self,
        number: usize,
        session: u8,
        listed: &Sources,
        is_there: &[bool],
        rules: &Rules,
    ) -> Vec<Item> {
        let mut reports = Vec::new();
        let mut files = Vec::new();
        for (file, &is_there) in is_there.iter().enumerate() {
            let mut followed = Followed::default();
            let known = listed.iter().filter(|(id, _)| id.file == file).max_by_key(|(id, held)| (!held.is_gone, **id));
            if let Some((&id, held)) = known {
                (followed.source, followed.position) = (Some(id), held.position);
                if is_there && held.is_gone && rules.a_source_that_returns_is_rebound {
                    followed.under_way = Some(Item::Rebind(id));
                }
                if !is_there && !held.is_gone {
                    followed.is_reported_gone = true;
                    reports.push(Item::Gone(id));
                }
            } else if is_there {
                followed.create(SourceId { file, process: number, epoch: session });
            }
            files.push(followed);
        }
        *self = Self::Following { epoch: session, files };
        reports
    }

    /// Takes the answer to an item of a file.
    pub fn settle(&mut self, file: usize, item: Item, answer: &Answer, rules: &Rules) -> Told {
        let Self::Following { files, .. } = self else { return Told::Nothing };
        let followed = &mut files[file];
        followed.under_way = None;
        match (answer, item) {
            (Answer::Fenced, _) => *self = Self::Fenced,
            // An earlier try was stored, and its answer lost.
            (Answer::Conflict(position), Item::Span(_, _, end)) if *position == end => followed.position = end,
            (Answer::Conflict(position), _) if rules.the_collector_is_the_truth => followed.position = *position,
            (Answer::Conflict(_), _) => {}
            (Answer::Accepted, Item::Span(_, _, end)) => followed.position = end,
            (Answer::Accepted, _) => {}
            // What it thinks is not what the collector knows: it lists again, in a session of its own.
            _ => *self = Self::start(rules),
        }
        let Self::Following { files, .. } = self else { return Told::Nothing };
        match (answer, item) {
            (Answer::Accepted | Answer::Conflict(_), Item::Span(..)) if rules.the_collector_is_the_truth => {
                Told::Acknowledged(file, files[file].position)
            }
            (Answer::Accepted, Item::Span(_, _, end)) => Told::Acknowledged(file, end),
            _ => Told::Nothing,
        }
    }
}

impl Followed {
    /// Begins a new source.
    pub fn create(&mut self, id: SourceId) {
        (self.source, self.position, self.under_way) = (Some(id), 0, Some(Item::Create(id)));
    }
}
