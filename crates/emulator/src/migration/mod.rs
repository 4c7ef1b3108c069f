//! Moving a guest: what the source does, what the destination does, and the parts they are made of.

pub mod breakage;
pub mod bucket;
pub mod callers;
pub mod channels;
pub mod connections;
pub mod destination;
pub mod device;
pub mod faults;
pub mod gate;
pub mod multifd;
pub mod pacer;
pub mod page_set;
pub mod pass;
pub mod postcopy;
pub mod progress;
pub mod ram;
pub mod replies;
pub mod source;
pub mod trouble;
pub mod xbzrle;
