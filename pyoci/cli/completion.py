"""Completion for bash, made from the table of commands: `pyoci help bash` prints it."""

from __future__ import annotations

from pyoci.cli.commands import CHOICE, COMMANDS, GLOBAL_FLAGS, HELP, SWITCH, TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cli.commands import Flag

_SCRIPT = """\
# bash completion for pyoci, printed by `pyoci help bash`
_pyoci()
{
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command= ids index at position=1
    local -a globals=()
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${COMP_WORDS[index]} in
            %(valued)s) globals+=("${COMP_WORDS[index]}" "${COMP_WORDS[index + 1]}"); ((index++)) ;;
            -*) ;;
            *) command=${COMP_WORDS[index]}; break ;;
        esac
    done
    case $command:$previous in
%(values)s
    esac
    case $command:$word in
%(flags)s
        :*) COMPREPLY=($(compgen -W "%(commands)s" -- "$word")); return ;;
        *:-*) return ;;
    esac
    for ((at = index + 1; at < COMP_CWORD; at++)); do
        [[ ${COMP_WORDS[at]} == -* ]] || ((position++))
    done
    case $command:$position in
%(arguments)s
        %(with_id)s)
            ids=$("${COMP_WORDS[0]}" "${globals[@]}" list --quiet 2>/dev/null)
            COMPREPLY=($(compgen -W "$ids" -- "$word")) ;;
    esac
}
complete -o default -F _pyoci pyoci
"""


def bash() -> str:
    """The script, to be sourced or put into /usr/share/bash-completion/completions."""
    tables = {"": GLOBAL_FLAGS} | {name: (*flags, HELP) for name, (_, _, flags) in COMMANDS.items()}
    return _SCRIPT % {
        "valued": "|".join(f"--{flag[0]}" for flag in GLOBAL_FLAGS if flag[2] != SWITCH),
        "values": "\n".join(
            _value(name, flag) for name, flags in tables.items() for flag in flags if flag[2] != SWITCH
        ),
        "flags": "\n".join(
            f'        {name}:-*) COMPREPLY=($(compgen -W "{_names(flags)}" -- "$word")); return ;;'
            for name, flags in tables.items()
        ),
        "commands": " ".join([*COMMANDS, "help"]),
        "arguments": "\n".join(line for name in COMMANDS for line in _arguments(name)),
        "with_id": "|".join(f"{name}:{at}" for name in COMMANDS for at in _containers(name)),
    }


def _containers(command: str) -> list[int]:
    """At which position, from 1, its arguments have a container that exists already."""
    if command in ("create", "run"):
        return []
    return [at for at, word in enumerate(COMMANDS[command][1].split(), 1) if word == "<container-id>"]


def _arguments(command: str) -> list[str]:
    """What completes those of its arguments that are one of several words, or a file."""
    lines = []
    for at, word in enumerate(COMMANDS[command][1].split(), 1):
        if "|" in word:
            words = f'-W "{word.strip("<>").replace("|", " ")}"'
        elif word == "<file>":
            words = "-f"
        else:
            continue
        lines.append(f'        {command}:{at}) COMPREPLY=($(compgen {words} -- "$word")) ;;')
    return lines


def _names(flags: tuple[Flag, ...]) -> str:
    return " ".join(f"--{flag[0]}" for flag in flags)


def _value(command: str, flag: Flag) -> str:
    """What may follow a flag: one of its choices, a directory, a file, or nothing that is known."""
    name, letter, kind, called, _, _ = flag
    pattern = f"{command}:--{name}" + (f"|{command}:-{letter}" if letter else "")
    if kind == CHOICE:
        words = f'-W "{called.replace("|", " ")}"'
    elif called == "DIR" and kind == TEXT:
        words = "-d"
    elif called in ("FILE", "SOCKET"):
        words = "-f"
    else:
        return f"        {pattern}) return ;;"
    return f'        {pattern}) COMPREPLY=($(compgen {words} -- "$word")); return ;;'
