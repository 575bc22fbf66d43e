"""What no file of the package may contain: read from the sources, nothing is run."""

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = sorted((ROOT / "napari_rwkv_seg").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
TEXT_ENDINGS = {".py", ".md", ".toml", ".yaml", ".yml", ".cff", ".cpp", ".h", ".txt", ".sh", ".inl"}

BANNED_CALLS = {
    "eval": "runs text as code",
    "exec": "runs text as code",
    "compile": "runs text as code",
    "__import__": "hides an import from the floors test",
    "breakpoint": "stops the user's napari",
    "os.system": "goes through a shell",
    "os.popen": "goes through a shell",
    "torch.save": "writes in place; use files.write_atomically",
    "np.save": "writes in place; use files.write_atomically",
    "np.savez": "writes in place; use files.write_atomically",
    "np.savetxt": "writes in place; use files.write_atomically",
    "np.memmap": "a file that changes under a mapping crashes the process",
    "mmap.mmap": "a file that changes under a mapping crashes the process",
    "importlib.reload": "gives two copies of one class",
}
BANNED_METHODS = {
    "extractall": "writes outside its folder when the archive says so",
    "write_text": "writes in place; use files.write_atomically",
    "write_bytes": "writes in place; use files.write_atomically",
    "safe_open": "maps the weights file",
    "load_file": "maps the weights file; read the bytes and use safetensors.torch.load",
    "save_file": "does not flush to the disk; use files.write_atomically",
    "mkdtemp": "on Windows its maker alone can read it, wherever it goes; use files.folder_beside",
}
BANNED_IMPORTS = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "tarfile",
    "torchvision", "PyQt5", "PyQt6", "PySide2", "PySide6",
}  # fmt: skip
BANNED_KEYWORDS = {"shell": True, "allow_pickle": True, "weights_only": False, "mmap": True}
NEEDED_KEYWORDS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}

COMMANDS = ("napari_rwkv_seg/cli/", "napari_rwkv_seg/training/__main__.py")
ENVIRONMENT = {  # who may look at the environment, and for what
    "napari_rwkv_seg/ops/backends.py": "the one variable of ours",
    "napari_rwkv_seg/controllers/finetune_process.py": "handed on to the process that trains",
    "napari_rwkv_seg/training/torchrun.py": "what torchrun sets",
    "napari_rwkv_seg/waiting.py": "how OpenMP waits, before torch is loaded",
}

TREES: dict[Path, ast.Module] = {
    path: ast.parse(path.read_text(encoding="utf-8")) for path in [*PACKAGE, *SCRIPTS]
}
Found = Iterable[tuple[int, str]]  # line, what is wrong there


def offences(
    check: Callable[[ast.Module], Found],
    files: list[Path] | None = None,
    exempt: str | tuple[str, ...] = "-",
) -> list[str]:
    """Return "file:line: what" for all that `check` finds in `files`, but not in those exempt."""
    return [
        f"{name_of(path)}:{line}: {what}"
        for path in (files if files is not None else [*PACKAGE, *SCRIPTS])
        if not name_of(path).startswith(exempt)
        for line, what in check(TREES[path])
    ]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Yield every call with its dotted name, numpy under its usual short name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            dotted = ast.unparse(node.func)
            yield node, re.sub(r"^numpy\.", "np.", re.sub(r"^builtins\.", "", dotted))


def keyword_values(call: ast.Call) -> dict[str, object]:
    return {
        word.arg: word.value.value
        for word in call.keywords
        if word.arg and isinstance(word.value, ast.Constant)
    }


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and top-level name of all that is imported absolutely."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module.partition(".")[0]


def banned_calls(tree: ast.Module) -> Found:
    writers = {"write_atomically", "in_memory"}
    outer = [call for call, dotted in calls(tree) if dotted in writers]
    given_a_file = {inner for call in outer for inner in ast.walk(call)}
    for call, dotted in calls(tree):
        reason = BANNED_CALLS.get(dotted) or BANNED_METHODS.get(dotted.rpartition(".")[2])
        if reason and not ("write_atomically" in reason and call in given_a_file):
            yield call.lineno, f"{dotted}: {reason}"


def test_no_call_is_made_that_is_banned() -> None:
    assert offences(banned_calls) == []


def test_the_package_prints_nothing() -> None:
    def prints(tree: ast.Module) -> Found:
        return ((call.lineno, dotted) for call, dotted in calls(tree) if dotted == "print")

    assert offences(prints, PACKAGE) == []


def test_temporary_files_lie_beside_what_they_become() -> None:
    """The system's folder for them may be missing, full, or on another disk (D05, D09)."""
    makers = {"mkstemp", "mkdtemp", "TemporaryFile", "NamedTemporaryFile", "TemporaryDirectory"}

    def elsewhere(tree: ast.Module) -> Found:
        for call, dotted in calls(tree):
            is_maker = dotted.rpartition(".")[2] in makers
            if is_maker and "dir" not in {word.arg for word in call.keywords}:
                yield call.lineno, dotted

    assert offences(elsewhere, PACKAGE) == []


def test_no_call_asks_for_an_unsafe_mode() -> None:
    def unsafe(tree: ast.Module) -> Found:
        for call, dotted in calls(tree):
            for word, value in keyword_values(call).items():
                if word in BANNED_KEYWORDS and value is BANNED_KEYWORDS[word]:
                    yield call.lineno, f"{dotted}({word}={value})"

    assert offences(unsafe) == []


def test_readers_that_could_run_code_are_told_not_to() -> None:
    def trusting(tree: ast.Module) -> Found:
        for call, dotted in calls(tree):
            word, wanted = NEEDED_KEYWORDS.get(dotted, ("", None))
            if word and keyword_values(call).get(word) is not wanted:
                yield call.lineno, f"{dotted} without {word}={wanted}"

    assert offences(trusting) == []


def replacing(tree: ast.Module) -> Found:
    for call, dotted in calls(tree):
        if dotted.rpartition(".")[2] in {"open", "fdopen"}:
            values = [value.value for value in call.args if isinstance(value, ast.Constant)]
            modes = [m for m in [*values, keyword_values(call).get("mode")] if m]
            if any(re.fullmatch(r"[rwaxbt+]*[wx+][rwaxbt+]*", str(mode)) for mode in modes):
                yield call.lineno, ast.unparse(call)
        # Of a path they take the target alone; texts and dates have more, or keywords.
        of_a_path = re.search(r"\.(rename|replace)$", dotted) and len(call.args) == 1
        if dotted in {"os.rename", "os.renames", "os.replace"} or (of_a_path and not call.keywords):
            yield call.lineno, f"{ast.unparse(call)}: is refused at once; use files.moved"


def test_files_are_replaced_in_one_place_only() -> None:
    assert offences(replacing, exempt="napari_rwkv_seg/files.py") == []


@pytest.mark.parametrize(
    ("code", "is_found"),
    [
        ("path.open('wb')", True),
        ("os.rename(a, b)", True),
        ("os.replace(a, b)", True),
        ("(folder / 'a').rename(target)", True),
        ("path.replace(folder / 'a')", True),
        ("path.open('rb')", False),
        ("text.replace('a', 'b')", False),
        ("time.replace(tzinfo=UTC)", False),
        ("manage.rename('a', 'b')", False),
        ("moved(path, target)", False),
    ],
)
def test_other_ways_to_replace_a_file_are_known(code: str, *, is_found: bool) -> None:
    assert bool(list(replacing(ast.parse(code)))) == is_found


@pytest.mark.parametrize("code", ["tempfile.mkdtemp(dir=home)", "mkdtemp(dir=home)"])
def test_a_private_folder_is_found_wherever_it_lies(code: str) -> None:
    assert list(banned_calls(ast.parse(code)))


def test_no_unsafe_or_heavy_module_is_imported() -> None:
    def unwanted(tree: ast.Module) -> Found:
        return ((line, name) for line, name in imported(tree) if name in BANNED_IMPORTS)

    assert offences(unwanted) == []


def test_the_package_has_no_assert_statement() -> None:
    def asserts(tree: ast.Module) -> Found:
        return ((n.lineno, "") for n in ast.walk(tree) if isinstance(n, ast.Assert))

    assert offences(asserts, PACKAGE) == []


def test_every_except_names_what_it_catches() -> None:
    def bare(tree: ast.Module) -> Found:
        handlers = (n for n in ast.walk(tree) if isinstance(n, ast.ExceptHandler))
        return ((handler.lineno, "") for handler in handlers if handler.type is None)

    assert offences(bare) == []


def test_only_the_documented_environment_variable_is_read() -> None:
    def readers(tree: ast.Module) -> Found:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.getenv"}:
                yield node.lineno, ast.unparse(node)

    assert offences(readers, PACKAGE, exempt=tuple(ENVIRONMENT)) == []


def test_only_the_commands_end_the_process() -> None:
    def ends(tree: ast.Module) -> Found:
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and node.exc and "SystemExit" in ast.unparse(node.exc):
                yield node.lineno, "SystemExit"
        for call, dotted in calls(tree):
            if dotted in {"sys.exit", "exit", "quit", "os._exit"}:
                yield call.lineno, dotted

    assert offences(ends, PACKAGE, exempt=COMMANDS) == []


def test_nothing_is_left_for_later() -> None:
    words = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"]
    found = [
        f"{name_of(path)}:{number}"
        for path in TREES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if any(word in line for word in words)
    ]
    assert found == []


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {name_of(p): len(p.read_text(encoding="utf-8").splitlines()) for p in PACKAGE}
    assert {name: length for name, length in lengths.items() if length > 300} == {}


def test_no_function_has_more_than_40_lines_of_code() -> None:
    def long(tree: ast.Module) -> Found:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                has_text = ast.get_docstring(node) is not None and len(node.body) > 1
                lines = (node.end_lineno or 0) - node.body[int(has_text)].lineno + 1
                if lines > 40:
                    yield node.lineno, f"{node.name} has {lines} lines"

    assert offences(long, PACKAGE) == []


def test_no_file_of_ours_names_a_path_of_one_machine() -> None:
    homes = "|".join(["home", "Users", "root", "work", "mnt"])
    machine_path = re.compile(rf"(?<![\w.~])/(?:{homes})/\w")
    folders = ["napari_rwkv_seg", "scripts", "tests", "docs", "csrc", "models", ".ci", ".github"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    found = [
        f"{name_of(path)}:{number}"
        for path in files
        if path.is_file() and (path.suffix in TEXT_ENDINGS or path.name in {"Makefile", "run"})
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if machine_path.search(line)
    ]
    assert found == []


REQUIREMENTS = [Requirement(text) for text in requires("napari-rwkv-seg") or []]
BASE = [r for r in REQUIREMENTS if r.marker is None]


def floor_of(requirement: Requirement) -> Version:
    floors = [Version(s.version) for s in requirement.specifier if s.operator == ">="]
    return max(floors, default=Version("0"))


@pytest.mark.parametrize("requirement", BASE, ids=lambda r: r.name)
def test_a_dependency_has_a_floor_and_no_upper_pin(requirement: Requirement) -> None:
    assert {specifier.operator for specifier in requirement.specifier} == {">="}


@pytest.mark.parametrize("requirement", BASE, ids=lambda r: r.name)
def test_the_installed_dependency_satisfies_its_floor(requirement: Requirement) -> None:
    assert Version(version(requirement.name)) >= floor_of(requirement)


@pytest.mark.parametrize(
    ("name", "floor"), [("torch", "2.10"), ("monai", "1.5.2"), ("pillow", "10.3")]
)
def test_floors_lie_above_the_versions_with_known_holes(name: str, floor: str) -> None:
    """torch: CVE-2026-24747; MONAI: CVE-2026-21851 and its kin; Pillow: CVE-2024-28219."""
    [requirement] = [r for r in REQUIREMENTS if r.name == name]
    assert floor_of(requirement) >= Version(floor)


def test_the_tools_for_tests_bring_every_extra() -> None:
    """A test of an optional format must find its library in a fresh environment."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    wanted = {text for name, texts in extras.items() if name != "all" for text in texts}
    brought = {Requirement(text).name for text in project["dependency-groups"]["dev"]}
    assert {Requirement(text).name for text in wanted} - brought == set()


def test_every_imported_library_is_a_declared_dependency() -> None:
    names = {name for path in PACKAGE for _, name in imported(TREES[path])}
    foreign = names - set(sys.stdlib_module_names) - {"napari_rwkv_seg"}
    distributions = packages_distributions()
    declared = {canonicalize_name(requirement.name) for requirement in REQUIREMENTS}
    undeclared = {
        name
        for name in foreign
        if not {canonicalize_name(d) for d in distributions.get(name, [])} & declared
    }
    assert undeclared == set()


def test_no_requirement_brings_torchvision_or_chooses_the_users_qt() -> None:
    names = {requirement.name.lower() for requirement in BASE}
    assert names & {"torchvision", "pyqt5", "pyqt6", "pyside2", "pyside6"} == set()
    assert [r for r in BASE if r.name == "napari" and r.extras] == []
