//! Manual pages and completions, as the package has them: made from the definitions of the commands, and kept in packaging/.

use std::{collections::BTreeMap, fs, path::Path};

use clap::Command;
use clap_complete::{Shell, generate};

/// Commands that packages are built without.
const TRIAL: [&str; 2] = ["emulator", "demo"];

/// What no definition says. Of roff(7), as clap_mangen writes it.
const MORE: &str = "\
.SH FILES
.TP
/etc/trayvault/trayvault.toml
The configuration. It names tokens and keys, and has none in it.
.TP
/var/lib/trayvault
The vault, the cache, the journal and the audit log: sealed, and private to the daemon's user.
.TP
/run/trayvault/api.sock
Where services and these commands ask (HTTP/1.1 and JSON).
.TP
/run/trayvault/credentials.sock
Where systemd asks, for LoadCredential= in other units.
.SH \"EXIT STATUS\"
As in sysexits.h: 0 where all went well, 64 for wrong arguments, 65 for data that is damaged or not this vault\\*(Aqs, 69
where no daemon answers, 70 for a bug, 73 and 74 where something can\\*(Aqt be made or written, 77 where a rule forbids it, 78 for
a wrong configuration. An error is one clause, and a line that begins with hint: says what to do.
.SH \"SEE ALSO\"
systemd.exec(5), systemd\\-creds(1), landlock(7); /usr/share/doc/trayvault
";

/// The program without what packages lack.
fn packaged() -> Command {
    let all = trayvault::cli::command();
    let kept: Vec<_> = all.get_subcommands().filter(|command| !TRIAL.contains(&command.get_name())).cloned().collect();
    let about = all.get_about().cloned().unwrap_or_default();
    Command::new("trayvault").version(env!("CARGO_PKG_VERSION")).about(about).max_term_width(100).subcommands(kept)
}

#[test]
fn manual_pages_and_completions_are_those_of_the_commands() {
    let pages = tempfile::tempdir().expect("a directory");
    clap_mangen::generate_to(packaged(), pages.path()).expect("written");
    let mut made = BTreeMap::new();
    for page in fs::read_dir(pages.path()).expect("a directory") {
        let path = page.expect("a page").path();
        let mut content = fs::read(&path).expect("a page");
        let name = path.file_name().expect("a name");
        if name == "trayvault.1" {
            content.extend_from_slice(MORE.as_bytes());
        }
        made.insert(Path::new("man").join(name), content);
    }
    for (shell, name) in [(Shell::Bash, "trayvault.bash"), (Shell::Zsh, "_trayvault"), (Shell::Fish, "trayvault.fish")]
    {
        let mut script = Vec::new();
        generate(shell, &mut packaged(), "trayvault", &mut script);
        made.insert(Path::new("completions").join(name), script);
    }
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packaging");
    let mut differ = Vec::new();
    for (name, content) in &made {
        if fs::read(kept.join(name)).ok().as_ref() != Some(content) {
            differ.push(name);
        }
        let path = scratch.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, content).expect("written");
    }
    let there = ["man", "completions"].into_iter().flat_map(|directory| {
        let entries = fs::read_dir(kept.join(directory)).into_iter().flatten();
        entries.map(move |entry| Path::new(directory).join(entry.expect("an entry").file_name()))
    });
    let left: Vec<_> = there.filter(|name| !made.contains_key(name)).collect();
    assert!(
        differ.is_empty() && left.is_empty(),
        "not as the commands are: {differ:?}, of no command: {left:?}; what they should be is in {}",
        scratch.display()
    );
    assert!(made.len() > 40, "{:?}", made.keys());
}
