//! A process's memory as the kernel shows it to root: what is mapped, whose stack it is, and what is in it.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    ops::Range,
    os::unix::fs::FileExt,
};

/// The granularity at which memory can be read or not.
const PAGE: usize = 4096;

/// Mappings that hold nothing of the process's own, and can't be read this way.
const OF_THE_KERNEL: [&str; 2] = ["[vvar", "[vsyscall]"];

pub(crate) struct Process {
    pid: i32,
    memory: File,
}

/// A part of the address space.
pub(crate) struct Mapping {
    pub(crate) range: Range<u64>,
    /// As the kernel names it; empty for anonymous memory.
    name: String,
}

/// What a mapping holds.
pub(crate) struct Content {
    /// As long as the mapping, with zeros for what can't be read.
    pub(crate) bytes: Vec<u8>,
    /// How much of it can't be read.
    pub(crate) unreadable: usize,
}

/// A thread that waits in the kernel.
pub(crate) struct Thread {
    name: String,
    stack_pointer: u64,
}

impl Process {
    /// # Errors
    /// `PermissionDenied` for whoever may not trace it.
    pub(crate) fn open(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, memory: File::open(format!("/proc/{pid}/mem"))? })
    }

    /// Every mapping that the process itself may read.
    pub(crate) fn mappings(&self) -> Vec<Mapping> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid)).expect("maps");
        let all = maps.lines().map(|line| {
            let mut columns = line.splitn(6, ' ');
            let (range, mode) = (columns.next().expect("a range"), columns.next().expect("a mode"));
            let (start, end) = range.split_once('-').expect("a range");
            let name = columns.nth(3).unwrap_or_default().trim().to_owned();
            (mode.starts_with('r'), Mapping { range: address(start)..address(end), name })
        });
        let readable = all.filter(|(readable, _)| *readable).map(|(_, mapping)| mapping);
        readable.filter(|mapping| !OF_THE_KERNEL.iter().any(|name| mapping.name.starts_with(name))).collect()
    }

    /// Reads a mapping whole.
    pub(crate) fn read(&self, mapping: &Mapping) -> Content {
        let mut content = Content { bytes: vec![0; mapping.len()], unreadable: 0 };
        let mut at = 0;
        while at < content.bytes.len() {
            match self.memory.read_at(&mut content.bytes[at..], mapping.range.start + at as u64) {
                Ok(0) => panic!("the process has ended"),
                Ok(read) => at += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // `memfd_secret` memory, or a file's mapping beyond the file's end.
                Err(_) => {
                    let next = (at / PAGE + 1) * PAGE;
                    content.unreadable += next - at;
                    at = next;
                }
            }
        }
        content
    }

    pub(crate) fn threads(&self) -> Vec<Thread> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).expect("tasks");
        let paths = tasks.map(|task| task.expect("a task").path());
        let thread = |path: std::path::PathBuf| {
            let name = fs::read_to_string(path.join("comm")).ok()?.trim().to_owned();
            // "number, six arguments, stack pointer, program counter", or "running".
            let syscall = fs::read_to_string(path.join("syscall")).ok()?;
            let stack_pointer = address(syscall.split_whitespace().rev().nth(1)?.strip_prefix("0x")?);
            Some(Thread { name, stack_pointer })
        };
        paths.filter_map(thread).collect()
    }
}

impl Mapping {
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.range.end - self.range.start).expect("a size")
    }

    /// Whether it is memory that the kernel takes out of its own reach.
    pub(crate) fn is_secret(&self) -> bool {
        self.name.contains("secretmem")
    }

    /// Where an address in it is.
    pub(crate) fn place(&self, address: u64, threads: &[Thread]) -> String {
        let offset = address - self.range.start;
        if let Some(thread) = threads.iter().find(|thread| self.range.contains(&thread.stack_pointer)) {
            let distance = address.abs_diff(thread.stack_pointer);
            let side = if address < thread.stack_pointer { "below" } else { "above" };
            return format!("stack of {}, {distance} bytes {side} its pointer", thread.name);
        }
        match self.name.as_str() {
            "" => format!("anonymous memory of {} bytes, at {offset}", self.len()),
            name => format!("{name}, at {offset}"),
        }
    }
}

fn address(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).expect("an address")
}
