//! Files with fsync discipline, behind one trait, and a twin of the disk that lies.
//!
//! Knows nothing of logs, records or networks. Whoever keeps something that must survive a power cut writes through [`Disk`], and is
//! tested on its twin, which forgets whatever was not synced.

pub mod disk;
pub mod real;
pub mod replace;
pub mod faulty;

pub use disk::{Disk, DiskFile, Entry, Open};
pub use faulty::{FaultyDisk, IgnoredSyncs, Moment};
pub use real::RealDisk;
pub use replace::{replace, replace_on};
