//! What it costs that every block is wiped when it is freed: an allocation and its release, by size.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    time::Duration,
};

use criterion::{BenchmarkId, Criterion};
use trayvault::system::alloc::Wiping;
use trayvault_benches::{compare, ratio};

const SIZES: [usize; 4] = [64, 1024, 16 * 1024, 256 * 1024];

const ROUNDS: usize = 200;
const PAIRS_A_ROUND: u32 = 1_000;

/// Allocates a block, writes to all of it if `fill`, as a caller does, and frees it.
fn pair(allocator: &impl GlobalAlloc, layout: Layout, fill: bool) {
    // SAFETY: every size is above zero, the block is freed once, by the allocator and the layout that it came from,
    // and written to only within its length.
    unsafe {
        let block = black_box(allocator.alloc(layout));
        assert!(!block.is_null());
        if fill {
            block.write_bytes(0xa5, layout.size());
            black_box(block);
        }
        allocator.dealloc(block, layout);
    }
}

fn main() {
    let mut criterion = Criterion::default().measurement_time(Duration::from_secs(2)).configure_from_args();
    let layouts = SIZES.map(|size| Layout::from_size_align(size, 16).expect("a layout"));
    for (case, fill) in [("untouched", false), ("written", true)] {
        let mut group = criterion.benchmark_group(case);
        for layout in layouts {
            group.bench_function(BenchmarkId::new("system", layout.size()), |bencher| {
                bencher.iter(|| pair(&System, layout, fill));
            });
            group.bench_function(BenchmarkId::new("wiping", layout.size()), |bencher| {
                bencher.iter(|| pair(&Wiping, layout, fill));
            });
        }
        group.finish();
    }

    println!("The fastest of {ROUNDS} rounds of {PAIRS_A_ROUND} allocations, in turns:");
    for (case, fill) in [("untouched", false), ("written", true)] {
        for layout in layouts {
            let [system, wiping] = compare(
                ROUNDS,
                [&mut || (0..PAIRS_A_ROUND).for_each(|_| pair(&System, layout, fill)), &mut || {
                    (0..PAIRS_A_ROUND).for_each(|_| pair(&Wiping, layout, fill));
                }],
            );
            let nanoseconds = |round: Duration| round.as_secs_f64() * 1e9 / f64::from(PAIRS_A_ROUND);
            println!(
                "{case}, {} bytes: system {:.1} ns, wiping {:.1} ns, ratio {:.2}",
                layout.size(),
                nanoseconds(system),
                nanoseconds(wiping),
                ratio(wiping, system)
            );
        }
    }
    criterion.final_summary();
}
