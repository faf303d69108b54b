//! All parties together: what can happen next, and what it does. Anything may happen at any time, within the bounds.

use stateright::{Model, Property};

use crate::agent::{Followed, Process, Told};
use crate::collector::{Collector, Phase};
use crate::log::{Effect, SourceId};
use crate::network::{Answer, Item, Network, Request};
use crate::promises;
use crate::rules::{Bounds, Rules};

/// Is what the checker explores.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// The rules kept.
    pub rules: Rules,
    /// The size of the world.
    pub bounds: Bounds,
}

/// Says where a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileIs {
    /// Where agents look.
    There,
    /// Nowhere, for a while: its disk is not mounted, it was moved.
    Away,
    /// Nowhere, for ever.
    Deleted,
}

/// Is one state of everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// The files.
    pub files: Vec<FileIs>,
    /// The processes started so far.
    pub processes: Vec<Process>,
    /// The collector's machine.
    pub collector: Collector,
    /// What is under way.
    pub network: Network,
    /// What readers have seen of each file's partition.
    pub seen: Vec<Vec<u8>>,
    /// Up to where any process was ever told that a file is stored: the newest checkpoint there can be.
    pub acknowledged: Vec<u8>,
    /// Faults of the collector so far.
    pub faults: u8,
    /// Absences of files so far.
    pub absences: u8,
}

/// Is one thing that can happen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// A new process of the agent starts, whether older ones live or not. One that died is one that does nothing from then on,
    /// so that dying needs no action of its own.
    Start,
    /// A process reads a file up to here, and sends it.
    Read(usize, usize, u8),
    /// A process sees that a file is back.
    SeeAgain(usize, usize),
    /// A request reaches the collector, for the first time or again.
    Deliver(Request),
    /// An answer reaches who waits for it.
    Take(Request, Answer),
    /// The group is synced, and shown at once.
    Sync,
    /// Its sync fails; this many of its commits were written.
    FailSync(usize),
    /// Readers see it before it is synced.
    ShowEarly,
    /// Its answers are sent.
    Reply,
    /// The collector's process dies; this many of the commits at risk were written.
    Kill(usize),
    /// The collector's machine loses power; this many of them were on the disk.
    CutPower(usize),
    /// The collector's process starts.
    Recover,
    /// Thirty days pass. An agent has long done by then what it could do at once: it has none that takes longer to see a file return.
    Forget,
    /// A file goes away.
    Leave(usize),
    /// A file comes back.
    Return(usize),
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.bounds.files)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.agent_actions(world, actions);
        self.collector_actions(world, actions);
        actions.extend(world.network.answers.iter().map(|(request, answer)| Action::Take(*request, answer.clone())));
        for (file, is) in world.files.iter().enumerate() {
            match is {
                FileIs::There if world.absences < self.bounds.absences => actions.push(Action::Leave(file)),
                FileIs::Away => actions.push(Action::Return(file)),
                FileIs::There | FileIs::Deleted => {}
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.happen(action, &self.rules);
        next.clean(&self.rules);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::all()
    }
}

impl Protocol {
    fn agent_actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.processes.len() < self.bounds.processes {
            actions.push(Action::Start);
        }
        for (number, process) in world.processes.iter().enumerate() {
            let Process::Following { files, .. } = process else { continue };
            for (file, followed) in files.iter().enumerate() {
                if followed.under_way.is_some() || world.files[file] != FileIs::There {
                    continue;
                }
                if followed.source.is_none() || followed.is_reported_gone {
                    actions.push(Action::SeeAgain(number, file));
                } else {
                    let ends = followed.position + 1..=self.bounds.bytes;
                    actions.extend(ends.map(|end| Action::Read(number, file, end)));
                }
            }
        }
    }

    fn collector_actions(&self, world: &World, actions: &mut Vec<Action>) {
        let at_risk = world.collector.at_risk();
        let may_fail = world.faults < self.bounds.faults;
        let Some(sequencer) = &world.collector.running else {
            actions.push(Action::Recover);
            if may_fail && at_risk > 0 {
                actions.extend((0..at_risk).map(Action::CutPower));
            }
            return;
        };
        match sequencer.phase {
            Phase::Staging => self.staging_actions(world, actions),
            Phase::Synced => actions.push(Action::Reply),
        }
        if may_fail {
            // A killed process loses nothing that is in the page cache already.
            let cached = world.collector.disk.cached.len();
            actions.extend((cached..=at_risk).map(Action::Kill));
            actions.extend((0..=at_risk).map(Action::CutPower));
            if !sequencer.group.is_empty() {
                actions.extend((0..=sequencer.group.len()).map(Action::FailSync));
            }
        }
    }

    fn staging_actions(&self, world: &World, actions: &mut Vec<Action>) {
        let Some(sequencer) = &world.collector.running else { return };
        let is_full = sequencer.group.len() >= self.bounds.group;
        for request in world.network.requests.iter().filter(|_| !is_full) {
            let is_over = matches!(request, Request::Open { .. }) && sequencer.staged.epoch >= self.bounds.sessions;
            if !is_over {
                actions.push(Action::Deliver(*request));
            }
        }
        let is_any_gone = sequencer.staged.sources.values().any(|stored| stored.is_gone);
        if !is_full && is_any_gone && world.is_agent_at_rest(sequencer.staged.epoch) {
            actions.push(Action::Forget);
        }
        if !sequencer.group.is_empty() {
            actions.push(Action::Sync);
            if !self.rules.records_are_shown_after_the_sync {
                actions.push(Action::ShowEarly);
            }
        } else if !sequencer.answers.is_empty() {
            actions.push(Action::Reply);
        }
    }
}

impl World {
    /// Begins with files, a collector, and no agent yet.
    pub fn new(files: usize) -> Self {
        Self {
            files: vec![FileIs::There; files],
            processes: Vec::new(),
            collector: Collector::new(files),
            network: Network::default(),
            seen: vec![Vec::new(); files],
            acknowledged: vec![0; files],
            faults: 0,
            absences: 0,
        }
    }

    /// Tells whether no process that is in force, or on its way to be, has anything to do but read.
    fn is_agent_at_rest(&self, in_force: u8) -> bool {
        self.processes.iter().all(|process| match process {
            Process::Opening { .. } => false,
            Process::Listing { epoch } => *epoch != in_force,
            Process::Following { epoch, files } if *epoch == in_force => {
                let rests = |(followed, is): (&Followed, &FileIs)| {
                    followed.under_way.is_none() && !(followed.is_reported_gone && *is == FileIs::There)
                };
                files.iter().zip(&self.files).all(rests)
            }
            Process::Following { .. } | Process::Fenced => true,
        })
    }

    /// Lets one thing happen.
    pub fn happen(&mut self, action: Action, rules: &Rules) {
        self.faults += u8::from(matches!(action, Action::Kill(_) | Action::CutPower(_) | Action::FailSync(_)));
        match action {
            Action::Start => self.processes.push(Process::start(rules)),
            Action::Read(number, file, end) => self.read(number, file, end),
            Action::SeeAgain(number, file) => self.see_again(number, file, rules),
            Action::Deliver(request) => self.deliver(request, rules),
            Action::Take(request, answer) => self.take(request, answer, rules),
            Action::Sync => {
                self.collector.sync(false);
                self.show();
            }
            Action::FailSync(_) if !rules.a_failed_sync_halts => {
                self.collector.sync(true);
                self.show();
            }
            Action::FailSync(written) | Action::Kill(written) => self.collector.kill(written),
            Action::ShowEarly => self.show(),
            Action::Reply => self.reply(),
            Action::CutPower(kept) => self.collector.cut_power(kept),
            Action::Recover => {
                self.collector.recover(rules);
                self.show();
            }
            Action::Forget => self.forget(),
            Action::Leave(file) => {
                self.absences += 1;
                self.files[file] = FileIs::Away;
            }
            Action::Return(file) => self.files[file] = FileIs::There,
        }
        self.send();
    }

    /// Puts every request that somebody waits for on its way.
    fn send(&mut self) {
        for (number, process) in self.processes.iter().enumerate() {
            self.network.requests.extend(process.awaited(number));
        }
    }

    fn read(&mut self, number: usize, file: usize, end: u8) {
        let Process::Following { files, .. } = &mut self.processes[number] else { return };
        let followed = &mut files[file];
        followed.under_way = followed.source.map(|id| Item::Span(id, followed.position, end));
    }

    fn see_again(&mut self, number: usize, file: usize, rules: &Rules) {
        let Process::Following { epoch, files } = &mut self.processes[number] else { return };
        let followed = &mut files[file];
        match followed.source {
            None => followed.create(SourceId { file, process: number, epoch: *epoch }),
            Some(_) if rules.a_return_opens_a_session => self.processes[number] = Process::start(rules),
            Some(id) => {
                followed.is_reported_gone = false;
                followed.under_way = rules.a_source_that_returns_is_rebound.then_some(Item::Rebind(id));
            }
        }
    }

    fn deliver(&mut self, request: Request, rules: &Rules) {
        let Some(sequencer) = &mut self.collector.running else { return };
        if let Some(answer) = sequencer.take(request, &self.collector.disk.synced, rules) {
            self.network.answers.insert((request, answer));
        }
    }

    fn take(&mut self, request: Request, answer: Answer, rules: &Rules) {
        let there: Vec<bool> = self.files.iter().map(|is| *is == FileIs::There).collect();
        match request {
            Request::Open { process, .. } => self.take_session(process, &answer, &there, rules),
            Request::List { process, epoch } => self.take_list(process, epoch, answer, &there, rules),
            Request::Commit { process, item, .. } => {
                let (Item::Create(id) | Item::Span(id, ..) | Item::Gone(id) | Item::Rebind(id)) = item;
                let told = self.processes[process].settle(id.file, item, &answer, rules);
                if let Told::Acknowledged(file, position) = told {
                    self.acknowledged[file] = self.acknowledged[file].max(position);
                }
            }
        }
    }

    fn take_session(&mut self, process: usize, answer: &Answer, there: &[bool], rules: &Rules) {
        let Process::Opening { listed, after } = &mut self.processes[process] else { return };
        match (answer, listed.clone()) {
            (Answer::Opened(epoch), None) => self.processes[process] = Process::Listing { epoch: *epoch },
            (Answer::Opened(epoch), Some(listed)) => self.follow(process, *epoch, &listed, there, rules),
            (Answer::Conflict(newest), _) => *after = *newest,
            _ => {}
        }
    }

    fn take_list(&mut self, process: usize, epoch: u8, answer: Answer, there: &[bool], rules: &Rules) {
        let Answer::Listed(listed) = answer else { return };
        if epoch == 0 {
            self.processes[process] = Process::Opening { listed: Some(listed), after: 0 };
        } else {
            self.follow(process, epoch, &listed, there, rules);
        }
    }

    fn follow(&mut self, process: usize, epoch: u8, listed: &crate::log::Sources, there: &[bool], rules: &Rules) {
        let reports = self.processes[process].follow(process, epoch, listed, there, rules);
        self.network.requests.extend(reports.into_iter().map(|item| Request::Commit { process, epoch, item }));
        if let (Process::Following { files, .. }, false) =
            (&mut self.processes[process], rules.the_collector_is_the_truth)
        {
            // Trusts its checkpoint, which was lost.
            files.iter_mut().for_each(|followed| followed.position = 0);
        }
    }

    fn show(&mut self) {
        if let Some(sequencer) = &self.collector.running {
            self.seen = sequencer.staged.partitions.clone();
        }
    }

    fn reply(&mut self) {
        let Some(sequencer) = &mut self.collector.running else { return };
        self.network.answers.append(&mut sequencer.answers);
        sequencer.phase = Phase::Staging;
    }

    /// Sources gone for thirty days are forgotten; a file that was away all the time will not come back.
    fn forget(&mut self) {
        let Some(sequencer) = &mut self.collector.running else { return };
        for (id, stored) in &sequencer.staged.sources {
            if stored.is_gone && self.files[id.file] == FileIs::Away {
                self.files[id.file] = FileIs::Deleted;
            }
        }
        sequencer.stage(vec![Effect::Forgotten]);
    }
}

impl World {
    /// Leaves out what can change nothing any more, so that fewer states differ: answers nobody waits for, and requests nobody
    /// waits for that only ask, that a durable session fences, or that start where the source durably no longer stands.
    pub fn clean(&mut self, rules: &Rules) {
        let processes = self.processes.iter().enumerate();
        let awaited: Vec<Request> = processes.flat_map(|(number, process)| process.awaited(number)).collect();
        self.network.answers.retain(|(request, _)| awaited.contains(request));
        if let Some(sequencer) = &mut self.collector.running {
            sequencer.answers.retain(|(request, _)| awaited.contains(request));
        }
        let durable = &self.collector.disk.synced;
        let may_matter = |request: &Request| match request {
            Request::Open { after, .. } => !rules.an_opening_is_compare_and_set || *after >= durable.epoch,
            Request::List { .. } => false,
            Request::Commit { epoch, .. } if rules.a_newer_session_fences && *epoch < durable.epoch => false,
            Request::Commit { item: Item::Create(id), .. } => !durable.sources.contains_key(id),
            Request::Commit { item: Item::Span(id, start, _), .. } => {
                !rules.spans_start_at_the_position || durable.sources.get(id).is_none_or(|held| held.position <= *start)
            }
            Request::Commit { .. } => true,
        };
        self.network.requests.retain(|request| awaited.contains(request) || may_matter(request));
    }
}
