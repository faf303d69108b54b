//! Whether a group of requests finds room on the disk: what grows is refused in time, what gives room back goes on.

use crate::error::Error;
use crate::request::Request;
use crate::sequencer::Sequencer;

/// This share of the reserve must be free beside it for commits to be taken.
const MARGIN_SHARE: u64 = 4;

/// Says what the disk still takes.
pub(super) enum Room {
    /// Everything.
    Enough,
    /// What adds nothing: there is room in the reserve only.
    Reserve(Error),
    /// Nothing.
    Nothing(Error),
}

impl Sequencer {
    /// Sees to it that the group finds room in the journal and, as far as can be told, in the segments.
    pub(super) fn room(&mut self) -> Result<Room, Error> {
        let bytes: usize = self.requests.iter().map(Request::bytes).sum();
        let growing: usize = self.requests.iter().filter(|request| request.grows()).map(Request::bytes).sum();
        if growing > 0
            && let Some(full) = self.missing_room(growing as u64)?
        {
            let exempt = (bytes - growing) as u64;
            let has_room =
                self.journal.reserve(exempt)? || (self.give_up_ballast()? && self.journal.reserve(exempt)?);
            return Ok(if has_room { Room::Reserve(full) } else { Room::Nothing(full) });
        }
        if self.journal.reserve(bytes as u64)? {
            return Ok(Room::Enough);
        }
        let full = self.missing_room(bytes as u64)?.unwrap_or_else(|| self.no_space(0, bytes as u64));
        let has_room = growing == 0 && self.give_up_ballast()? && self.journal.reserve(bytes as u64)?;
        Ok(if has_room { Room::Enough } else { Room::Nothing(full) })
    }

    /// Says what is missing for commits of so many bytes, which are written to the journal and to segments. The ballast is taken (again)
    /// once there is room for it beside them.
    pub(super) fn missing_room(&self, growing: u64) -> Result<Option<Error>, Error> {
        let dir = &self.config.data_dir;
        let free = self.disk.free_bytes(dir).map_err(Error::io("measure the room of", dir))?;
        let need = 2 * growing + self.config.reserve_bytes / MARGIN_SHARE;
        if self.ballast.is_held() {
            return Ok((free < need).then(|| self.no_space(free, need)));
        }
        let need = need + self.config.reserve_bytes;
        if free < need {
            return Ok(Some(self.no_space(free, need)));
        }
        self.ballast.take()?;
        Ok(None)
    }

    fn no_space(&self, free: u64, need: u64) -> Error {
        Error::NoSpace { path: self.config.data_dir.clone(), free, need }
    }

    fn give_up_ballast(&self) -> Result<bool, Error> {
        self.ballast.release().map_err(Error::io("release the ballast of", &self.config.data_dir))
    }
}
