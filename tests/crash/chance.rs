//! Chance that can be repeated: the same seed gives the same choices.

use trayvault::emulator::{Call, Fault, FaultKind};

/// A generator (SplitMix64): small, and good enough to choose by.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below another.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Whether something happens that happens so often.
    pub(crate) fn strikes(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        let index = self.below(all.len() as u64);
        all[usize::try_from(index).expect("an index")]
    }

    /// Something that goes wrong in Tray, before the work or after it.
    pub(crate) fn fault(&mut self) -> Fault {
        let calls = [
            Call::CreateAuthentication,
            Call::CreateAuthentication,
            Call::ReplaceAuthentication,
            Call::DeleteAuthentication,
            Call::ListAuthentications,
            Call::FullRead,
            Call::CreateExternalUser,
        ];
        let kinds = [
            FaultKind::DropConnection,
            FaultKind::DropConnection,
            FaultKind::DelayMs(50 + self.below(super::LATEST - 50)),
            FaultKind::DelayMs(50 + self.below(super::LATEST - 50)),
            FaultKind::TruncatedJson,
            FaultKind::Html,
            FaultKind::Status(500),
            FaultKind::InternalError,
        ];
        let (call, kind) = (self.one_of(&calls), self.one_of(&kinds));
        if self.strikes(60) {
            return Fault::after(call, kind);
        }
        // What says that nothing was done is only said when nothing was.
        let refusals = [FaultKind::Status(429), FaultKind::Status(503), FaultKind::Status(409)];
        let kind = if self.strikes(40) { self.one_of(&refusals) } else { kind };
        Fault::before(call, kind)
    }
}
