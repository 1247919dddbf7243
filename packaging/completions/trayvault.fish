# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_trayvault_global_optspecs
    string join \n h/help V/version
end

function __fish_trayvault_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_trayvault_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_trayvault_using_subcommand
    set -l cmd (__fish_trayvault_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c trayvault -n "__fish_trayvault_needs_command" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_needs_command" -s V -l version -d 'Print version'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "init" -d 'Make the vault: its key file if there is none, its header, its audit log'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "check" -d 'Check the configuration, and what it names on this host'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "doctor" -d 'Check the host as a whole: kernel, limits, Tray, tokens, the daemon'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "run" -d 'Run the daemon'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "status" -d 'Show how the daemon stands'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "top" -d 'Watch how the daemon stands, live'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "list" -d 'List authentications, without secrets'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "get" -d 'Read one authentication'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "exec" -d 'Run a command with secrets in its environment or in files'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "sync" -d 'Synchronise with Tray now'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "drop" -d 'Drop a document, sealed, or show what it would do'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "ingest" -d 'Documents that are not finished, and rejected ones'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "seal" -d 'Seal a document to the vault, to drop it from anywhere'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "recipient" -d 'Print the recipient that documents are sealed to'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "why" -d 'Explain a decision by the rule that made it'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "who-can" -d 'List who may do what with an authentication, by which rules'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "lock" -d 'Wipe the daemon\'s keys and tokens: it answers no secret until it is unlocked'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "unlock" -d 'Unlock the daemon\'s vault again'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "key" -d 'The vault\'s key slots, and the rotation of its keys'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "backup" -d 'Write a sealed copy of everything to a file; the daemon may run meanwhile'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "restore" -d 'Put a backup back into an empty state directory'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "audit" -d 'Look into the audit log'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "openapi" -d 'Print the description of api.sock, as OpenAPI'
complete -c trayvault -n "__fish_trayvault_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c trayvault -n "__fish_trayvault_using_subcommand init" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand init" -l json -d 'Print what was made as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand init" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand check" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand check" -l json -d 'Print the findings as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand check" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand doctor" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand doctor" -l json -d 'Print the findings as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand run" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand run" -l accept-rollback -d 'Go on, this once, with a cache or a journal from before what the audit log knows of'
complete -c trayvault -n "__fish_trayvault_using_subcommand run" -l offline -d 'Never ask Tray: answer from the sealed cache only, and let the drop directory wait'
complete -c trayvault -n "__fish_trayvault_using_subcommand run" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand status" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand status" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand status" -l watch -d 'Look again every second, until Ctrl-C'
complete -c trayvault -n "__fish_trayvault_using_subcommand status" -l json -d 'Print the daemon\'s answer as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand status" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand top" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand top" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand top" -l interval -d 'The time from one look to the next, such as 500ms, 2s or 1m' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand top" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand list" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand list" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand list" -l owner -d 'Only those of this end user' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand list" -l service -d 'Only those for this service' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand list" -l environment -d 'Only those for this service environment, by its title' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand list" -l state -d 'Only those in this state, such as full or not_enabled' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand list" -l json -d 'Print them as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand list" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand get" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand get" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand get" -l field -d 'Only this value: a JSON pointer such as /credentials/accessToken' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand get" -l max-age -d 'The oldest value that will do, such as 30s or 5m: Tray is asked for a newer one' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand get" -l require-fresh -d 'No stale value: Tray is asked for a fresh one'
complete -c trayvault -n "__fish_trayvault_using_subcommand get" -l json -d 'Print the daemon\'s whole answer, with age and revision'
complete -c trayvault -n "__fish_trayvault_using_subcommand get" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand exec" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand exec" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand exec" -l set -d 'Put a value into an environment variable' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand exec" -l file -d 'Put a value, or all of an authentication, into a sealed file in memory that the command inherits, and its path into a variable' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand exec" -l tmpfs-file -d 'As --file, in a private directory on tmpfs: for programs that close what they inherit, and for a file that is renewed' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand exec" -l signal-on-change -d 'When a value changes, renew each --tmpfs-file and send the command a signal, such as HUP' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand exec" -l restart-on-change -d 'When a value changes, end the command (SIGTERM, SIGKILL after 10s) and start it anew'
complete -c trayvault -n "__fish_trayvault_using_subcommand exec" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand sync" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand sync" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand sync" -l confirm-removals -d 'Let it remove more than a synchronisation may remove unasked: Tray is right'
complete -c trayvault -n "__fish_trayvault_using_subcommand sync" -l json -d 'Print the daemon\'s report as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand sync" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand drop" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand drop" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand drop" -l name -d 'The name to deliver it under, instead of the file\'s own' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand drop" -l recipient -d 'To whom to seal (age1…), instead of asking the daemon' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand drop" -l directory -d 'The drop directory, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand drop" -l plan -d 'Deliver nothing: show what would be done'
complete -c trayvault -n "__fish_trayvault_using_subcommand drop" -l json -d 'Print what was done, or would be, as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand drop" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and not __fish_seen_subcommand_from list show retry adopt discard help" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and not __fish_seen_subcommand_from list show retry adopt discard help" -f -a "list" -d 'List the documents that are not finished, in order of arrival'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and not __fish_seen_subcommand_from list show retry adopt discard help" -f -a "show" -d 'Show one of them by its id, or open a rejected one by its name'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and not __fish_seen_subcommand_from list show retry adopt discard help" -f -a "retry" -d 'It was not done: send it again'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and not __fish_seen_subcommand_from list show retry adopt discard help" -f -a "adopt" -d 'It was done: this is the authentication that it became'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and not __fish_seen_subcommand_from list show retry adopt discard help" -f -a "discard" -d 'It is not to be done: reject it'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and not __fish_seen_subcommand_from list show retry adopt discard help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from list" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from list" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from list" -l json -d 'Print the daemon\'s answer as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from show" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from show" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from show" -l output -d 'Of a rejected one: a new file to write it to, which nobody else may read' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from show" -l json -d 'Of one that is not finished: print the daemon\'s answer as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from retry" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from retry" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from retry" -l json -d 'Print the daemon\'s answer as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from retry" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from adopt" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from adopt" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from adopt" -l authentication -d 'The authentication\'s id' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from adopt" -l json -d 'Print the daemon\'s answer as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from adopt" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from discard" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from discard" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from discard" -l json -d 'Print the daemon\'s answer as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from discard" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the documents that are not finished, in order of arrival'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show one of them by its id, or open a rejected one by its name'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from help" -f -a "retry" -d 'It was not done: send it again'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from help" -f -a "adopt" -d 'It was done: this is the authentication that it became'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from help" -f -a "discard" -d 'It is not to be done: reject it'
complete -c trayvault -n "__fish_trayvault_using_subcommand ingest; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c trayvault -n "__fish_trayvault_using_subcommand seal" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand seal" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand seal" -l output -d 'A new file to write to, which nobody else may read, instead of standard output' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand seal" -l recipient -d 'To whom to seal (age1…), instead of asking the daemon' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand seal" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand recipient" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand recipient" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand recipient" -l json -d 'Print the daemon\'s answer as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand recipient" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and not __fish_seen_subcommand_from pull read help" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and not __fish_seen_subcommand_from pull read help" -f -a "pull" -d 'Why an authentication is pulled in full, or is not'
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and not __fish_seen_subcommand_from pull read help" -f -a "read" -d 'Why a caller may read an authentication, or may not'
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and not __fish_seen_subcommand_from pull read help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and __fish_seen_subcommand_from pull" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and __fish_seen_subcommand_from pull" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and __fish_seen_subcommand_from pull" -l json -d 'Print the daemon\'s answer as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and __fish_seen_subcommand_from pull" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and __fish_seen_subcommand_from read" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and __fish_seen_subcommand_from read" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and __fish_seen_subcommand_from read" -l field -d 'Only this value: a JSON pointer such as /credentials/accessToken' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and __fish_seen_subcommand_from read" -l process -d 'The name of the caller\'s program, by which the workflow guard may know it' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and __fish_seen_subcommand_from read" -l json -d 'Print the daemon\'s answer as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and __fish_seen_subcommand_from read" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and __fish_seen_subcommand_from help" -f -a "pull" -d 'Why an authentication is pulled in full, or is not'
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and __fish_seen_subcommand_from help" -f -a "read" -d 'Why a caller may read an authentication, or may not'
complete -c trayvault -n "__fish_trayvault_using_subcommand why; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c trayvault -n "__fish_trayvault_using_subcommand who-can" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand who-can" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand who-can" -l json -d 'Print the daemon\'s answer as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand who-can" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand lock" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand lock" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand lock" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand unlock" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand unlock" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand unlock" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and not __fish_seen_subcommand_from list add remove rotate help" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and not __fish_seen_subcommand_from list add remove rotate help" -f -a "list" -d 'Show the vault\'s key slots'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and not __fish_seen_subcommand_from list add remove rotate help" -f -a "add" -d 'Add a key slot; the key that vault.unlock names has to fit'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and not __fish_seen_subcommand_from list add remove rotate help" -f -a "remove" -d 'Remove a key slot; the key that vault.unlock names has to fit, and be another one\'s'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and not __fish_seen_subcommand_from list add remove rotate help" -f -a "rotate" -d 'Seal with a new key from now on, and everything that is sealed again in the background'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and not __fish_seen_subcommand_from list add remove rotate help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from list" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from list" -l json -d 'Print the slots as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from add" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from add" -l key-file -d 'A file of 32 random bytes; made if it is not there' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from add" -l key-credential -d 'A systemd credential of 32 random bytes' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from add" -l passphrase-file -d 'A file with a passphrase' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from add" -l passphrase-credential -d 'A systemd credential with a passphrase' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from add" -l prompt -d 'A passphrase, asked for on the terminal'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from add" -l json -d 'Print what was made as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from remove" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from rotate" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from rotate" -l socket -d 'The daemon\'s socket, instead of the configuration\'s' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from rotate" -l wait -d 'Wait until everything is sealed with the new key, and the earlier one destroyed'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from rotate" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "list" -d 'Show the vault\'s key slots'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "add" -d 'Add a key slot; the key that vault.unlock names has to fit'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Remove a key slot; the key that vault.unlock names has to fit, and be another one\'s'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "rotate" -d 'Seal with a new key from now on, and everything that is sealed again in the background'
complete -c trayvault -n "__fish_trayvault_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c trayvault -n "__fish_trayvault_using_subcommand backup" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand backup" -l json -d 'Print what was done as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand backup" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand restore" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand restore" -l json -d 'Print what was done as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand restore" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report export help" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report export help" -f -a "verify" -d 'Verify that every entry is as it was written, in its place'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report export help" -f -a "tail" -d 'Print the last entries, and those to come'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report export help" -f -a "report" -d 'Who read an authentication: from verified entries only'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report export help" -f -a "export" -d 'Print every entry, as far as they are verified, as JSON or CSV'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and not __fish_seen_subcommand_from verify tail report export help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from verify" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from verify" -l anchor -d 'An entry that has to be there: SEQUENCE:MAC, or a file of such anchors as audit.anchor.file gets. May be given several times' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from verify" -l json -d 'Print the verdict as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from tail" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from tail" -l caller -d 'Only what this caller asked for: a user\'s name or number, or a systemd unit such as billing@*.service' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from tail" -l authentication -d 'Only what was done to this authentication' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from tail" -l action -d 'Only this action, such as authentication.read, or all of a kind, such as key.*' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from tail" -l outcome -d 'Only with this outcome: begun, done, refused or failed' -r -f -a "begun\t''
done\t''
refused\t''
failed\t''"
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from tail" -l since -d 'Only from this time on: RFC 3339, or a span before now, such as 24h' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from tail" -l until -d 'Only before this time' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from tail" -s n -l lines -d 'How many entries' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from tail" -s f -l follow -d 'Go on with those to come, until interrupted'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from tail" -l json -d 'Print them as they stand in the log, a JSON object a line'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from tail" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from report" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from report" -l authentication -d 'Of which authentication' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from report" -l since -d 'From this time on: RFC 3339, or a span before now, such as 24h' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from report" -l json -d 'Print it as JSON'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from report" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from export" -l config -d 'The configuration file' -r -F
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from export" -l caller -d 'Only what this caller asked for: a user\'s name or number, or a systemd unit such as billing@*.service' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from export" -l authentication -d 'Only what was done to this authentication' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from export" -l action -d 'Only this action, such as authentication.read, or all of a kind, such as key.*' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from export" -l outcome -d 'Only with this outcome: begun, done, refused or failed' -r -f -a "begun\t''
done\t''
refused\t''
failed\t''"
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from export" -l since -d 'Only from this time on: RFC 3339, or a span before now, such as 24h' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from export" -l until -d 'Only before this time' -r
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from export" -l csv -d 'As comma-separated values (RFC 4180), with a header'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from export" -l json -d 'As JSON, an object a line; the default'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "verify" -d 'Verify that every entry is as it was written, in its place'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "tail" -d 'Print the last entries, and those to come'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "report" -d 'Who read an authentication: from verified entries only'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "export" -d 'Print every entry, as far as they are verified, as JSON or CSV'
complete -c trayvault -n "__fish_trayvault_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c trayvault -n "__fish_trayvault_using_subcommand openapi" -s h -l help -d 'Print help'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "init" -d 'Make the vault: its key file if there is none, its header, its audit log'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "check" -d 'Check the configuration, and what it names on this host'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "doctor" -d 'Check the host as a whole: kernel, limits, Tray, tokens, the daemon'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "run" -d 'Run the daemon'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "status" -d 'Show how the daemon stands'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "top" -d 'Watch how the daemon stands, live'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "list" -d 'List authentications, without secrets'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "get" -d 'Read one authentication'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "exec" -d 'Run a command with secrets in its environment or in files'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "sync" -d 'Synchronise with Tray now'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "drop" -d 'Drop a document, sealed, or show what it would do'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "ingest" -d 'Documents that are not finished, and rejected ones'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "seal" -d 'Seal a document to the vault, to drop it from anywhere'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "recipient" -d 'Print the recipient that documents are sealed to'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "why" -d 'Explain a decision by the rule that made it'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "who-can" -d 'List who may do what with an authentication, by which rules'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "lock" -d 'Wipe the daemon\'s keys and tokens: it answers no secret until it is unlocked'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "unlock" -d 'Unlock the daemon\'s vault again'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "key" -d 'The vault\'s key slots, and the rotation of its keys'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "backup" -d 'Write a sealed copy of everything to a file; the daemon may run meanwhile'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "restore" -d 'Put a backup back into an empty state directory'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "audit" -d 'Look into the audit log'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "openapi" -d 'Print the description of api.sock, as OpenAPI'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and not __fish_seen_subcommand_from init check doctor run status top list get exec sync drop ingest seal recipient why who-can lock unlock key backup restore audit openapi help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and __fish_seen_subcommand_from ingest" -f -a "list" -d 'List the documents that are not finished, in order of arrival'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and __fish_seen_subcommand_from ingest" -f -a "show" -d 'Show one of them by its id, or open a rejected one by its name'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and __fish_seen_subcommand_from ingest" -f -a "retry" -d 'It was not done: send it again'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and __fish_seen_subcommand_from ingest" -f -a "adopt" -d 'It was done: this is the authentication that it became'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and __fish_seen_subcommand_from ingest" -f -a "discard" -d 'It is not to be done: reject it'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and __fish_seen_subcommand_from why" -f -a "pull" -d 'Why an authentication is pulled in full, or is not'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and __fish_seen_subcommand_from why" -f -a "read" -d 'Why a caller may read an authentication, or may not'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and __fish_seen_subcommand_from key" -f -a "list" -d 'Show the vault\'s key slots'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and __fish_seen_subcommand_from key" -f -a "add" -d 'Add a key slot; the key that vault.unlock names has to fit'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and __fish_seen_subcommand_from key" -f -a "remove" -d 'Remove a key slot; the key that vault.unlock names has to fit, and be another one\'s'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and __fish_seen_subcommand_from key" -f -a "rotate" -d 'Seal with a new key from now on, and everything that is sealed again in the background'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "verify" -d 'Verify that every entry is as it was written, in its place'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "tail" -d 'Print the last entries, and those to come'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "report" -d 'Who read an authentication: from verified entries only'
complete -c trayvault -n "__fish_trayvault_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "export" -d 'Print every entry, as far as they are verified, as JSON or CSV'
