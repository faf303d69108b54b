//! A page for a member of a group: what every page has, and `member`, `generation`, and what is new: `assignment`, `gaps`.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use skidway_wire::groups::MEMBER_HEADER;
use tokio::time::{Instant, timeout, timeout_at};

use crate::groups::Poll;
use crate::json::RecordWriter;
use crate::listen::held::until_sent;
use crate::listen::http::answers::Failure;
use crate::listen::http::coding::Coding;
use crate::listen::http::door::Door;
use crate::listen::http::page::Page;
use crate::listen::http::query::ReadQuery;
use crate::listen::http::seated::{Seated, Told};
use crate::metrics;
use crate::read::{ReadError, Subscription};

/// Looks again after so long at what a group has taken away.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Is what one look at a group's records came to.
struct Look {
    page: Page,
    told: Vec<Told>,
    seated: Seated,
    subscription: Subscription,
}

/// Fills a page, waiting up to `wait` for its first record, or for something else to tell.
pub(super) async fn answer(
    door: &Arc<Door>,
    (query, coding): (&ReadQuery, Coding),
    poll: &Poll,
) -> Result<Response, Failure> {
    let deadline = Instant::now() + query.wait;
    loop {
        let mut look = look(door, query, poll)?;
        if !look.wait(door, query, poll, deadline).await? {
            continue;
        }
        let (generation, member) = (look.seated.generation(), look.seated.seat().member().clone());
        let knows = poll.knows(generation)?;
        let Some(number) = poll.give(&look.seated.reads_at(&look.subscription), generation)? else {
            // Some of it was taken away meanwhile, which the group is about to tell.
            let _told_or_looked_for = timeout(AGAIN_AFTER, Seated::changed(Some(&mut look.seated))).await;
            continue;
        };
        return Ok(look.finish(&format!("{member}.{number}"), knows, coding).await);
    }
}

fn look(door: &Arc<Door>, query: &ReadQuery, poll: &Poll) -> Result<Look, Failure> {
    let page = Page::new(RecordWriter::of_any(query.inline_json), query.page()?, door.rooms.one());
    let mut subscription = door.reader.assignable();
    let mut seated = Seated::new(door, poll.seat(), &mut subscription);
    let told = seated.adopt(&mut subscription)?;
    Ok(Look { page, told, seated, subscription })
}

impl Look {
    /// Waits until there is something to answer, or the time is over; false if the group changed, and everything is to be looked at anew.
    async fn wait(&mut self, door: &Door, query: &ReadQuery, poll: &Poll, deadline: Instant) -> Result<bool, Failure> {
        let bytes_min = query.bytes_min()?;
        loop {
            self.fill(query).await?;
            let news = self.told.iter().any(|(name, _)| *name == "gap") || !poll.knows(self.seated.generation())?;
            if news || self.page.is_enough(bytes_min) {
                return Ok(true);
            }
            tokio::select! {
                biased; // Stopping beats everything, or a busy topic would keep the collector alive.
                () = door.draining.cancelled() => return Ok(true),
                () = Seated::changed(Some(&mut self.seated)) => return Ok(false),
                changed = timeout_at(deadline, self.subscription.changed()) => match changed {
                    Ok(changed) => changed?,
                    Err(_) => return Ok(true),
                },
            }
        }
    }

    /// Takes what there is to read, past what was deleted meanwhile.
    async fn fill(&mut self, query: &ReadQuery) -> Result<(), Failure> {
        loop {
            match self.page.fill(&mut self.subscription, query).await {
                Ok(()) => return Ok(()),
                Err(error @ ReadError::Gone { .. }) => {
                    let gaps = self.seated.pass_over_deleted(&mut self.subscription);
                    if gaps.is_empty() {
                        return Err(error.into());
                    }
                    self.told.extend(gaps);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn finish(mut self, member: &str, knows: bool, coding: Coding) -> Response {
        self.page.say("member", format!("\"{member}\""));
        self.page.say("generation", self.seated.generation().to_string());
        let gaps: Vec<&str> =
            self.told.iter().filter(|(name, _)| *name == "gap").map(|(_, gap)| gap.as_str()).collect();
        if !gaps.is_empty() {
            self.page.say("gaps", format!("[{}]", gaps.join(",")));
        }
        let assignment = self.told.iter().find(|(name, _)| *name == "assignment").filter(|_| !knows);
        if let Some((_, assignment)) = assignment {
            self.page.say("assignment", assignment.clone());
        }
        let (body, room) = self.page.finish(&self.subscription.place().encode());
        metrics::sent("page", body.len());
        let headers = [(CONTENT_TYPE.as_str(), "application/json"), (MEMBER_HEADER, member)];
        coding.whole(headers.into_response(), body).await.map(|body| until_sent(body, room))
    }
}
