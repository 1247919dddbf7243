//! skeleton
pub mod authentication;
mod duration;
pub mod policy;
pub mod secret;
pub mod task;
pub mod tray;
