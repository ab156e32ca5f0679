#!/usr/bin/env python3
"""Breaks one promise of the documents at a time, and runs the tests that claim it: one of them must fail.
  usage: mutants.py run [--filter ID] [--sample N] [--date DATE] [--tests CLAIM] [--copies N]
         mutants.py check      prints the rows that do not fit the tree; needs no build

The rows are in *.toml beside this file, one file for each subject:
  [[mutant]]
  id = "header-deadline"
  promise = "A peer that sends no header is dropped after 10 s."
  document = ".github/SECURITY.md"
  file = "src/fastcgi/intake.cc"
  old = '''text that occurs once in the file'''
  new = '''the text that replaces it'''
  tests = ["unit:FcgiConnection.ASilent*", "e2e:Fastcgi.*"]
  survives = "the reason"                 # only if no test can notice the mutant

A claim is KIND:PATTERN. A mutant's claims run until one of them fails, so the fast ones come first. The patterns:
  unit, e2e     GoogleTest's filter
  browser       a part of the test's name
  simulate      how many seconds, 30 if it is no number
  run           a command, in the top directory of the tree
The mutants are made in copies of the tree, build/mutants/1 and so on, which later runs use again. Exit codes: 0 every
mutant was noticed or has a reason to survive; 1 one survived, or a row does not fit the tree, or a mutant does not
build, or a claimed test fails without a mutant; 64 bad usage; 130 Ctrl-C.
"""

import argparse
import contextlib
import datetime
import fcntl
import fnmatch
import os
import queue
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
COPIES = SOURCE / 'build' / 'mutants'
BUILD = 'build/debug'  # in a copy
SIMULATION = 'build/simulation'
BUILD_SECONDS = 1800
MEMBERS = {'id', 'promise', 'document', 'file', 'old', 'new', 'tests', 'survives'}


class Fault(Exception):
    """Something is wrong with the table or with the tree; the message says what."""


@dataclass(frozen=True)
class Mutant:
    id: str
    promise: str
    document: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    survives: str = ''

    def text(self) -> str:
        """The file with the mutation."""
        return (SOURCE / self.file).read_text(encoding='utf-8').replace(self.old, self.new)

    def claims(self) -> list[tuple[str, str]]:
        """(kind, pattern)"""
        return [split_claim(claim) for claim in self.tests]


def split_claim(claim: str) -> tuple[str, str]:
    kind, colon, pattern = claim.partition(':')
    if not colon or kind not in KINDS:
        raise Fault(f'{claim}: a claim is KIND:PATTERN, with one of these kinds: {", ".join(KINDS)}')
    return kind, pattern


# --- The table ----------------------------------------------------------------------------------


def read_table() -> tuple[list[Mutant], list[str]]:
    """The valid rows, and the faults of the others."""
    mutants: list[Mutant] = []
    faults: list[str] = []
    results: dict[tuple[str, str], str] = {}  # ids by file and mutated text
    for path in sorted(HERE.glob('*.toml')):
        for row in tomllib.loads(path.read_text(encoding='utf-8')).get('mutant', []):
            place = f'{path.relative_to(SOURCE)}: {row.get("id")}'
            members = set(row)
            if members - {'survives'} != MEMBERS - {'survives'}:
                faults.append(f'{place}: missing or unknown: {", ".join(sorted(members ^ MEMBERS - {"survives"}))}')
                continue
            mutant = Mutant(**row | {'tests': tuple(row['tests'])})
            if fault := fault_of(mutant, {other.id for other in mutants}):
                faults.append(f'{place}: {fault}')
            elif (other := results.setdefault((mutant.file, mutant.text()), mutant.id)) != mutant.id:
                faults.append(f'{place}: the same as {other}')
            else:
                mutants.append(mutant)
    return mutants, faults


def fault_of(mutant: Mutant, ids: set[str]) -> str:
    if not re.fullmatch(r'[a-z0-9]+(-[a-z0-9]+)*', mutant.id):
        return 'an id consists of lower-case letters, digits and single hyphens'
    if mutant.id in ids:
        return 'the id is taken'
    for path in (mutant.document, mutant.file):
        if not (SOURCE / path).is_file():
            return f'{path} does not exist'
    if mutant.old == mutant.new:
        return 'old and new are equal'
    count = (SOURCE / mutant.file).read_text(encoding='utf-8').count(mutant.old)
    if count != 1:
        return f'old occurs {count} times in {mutant.file}, not once'
    try:
        mutant.claims()
    except Fault as fault:
        return str(fault)
    return '' if mutant.tests else 'no test claims it'


# --- Programs -----------------------------------------------------------------------------------


class Programs:
    """Runs each program in a process group of its own, so that its children end with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self, command: list[str], directory: Path, seconds: float, **variables: str) -> tuple[int | None, str]:
        """The exit code (None after a timeout) and the output."""
        # Without the options of a make that runs this script, and without CI, which turns warnings into errors.
        others = ('MAKEFLAGS', 'MAKELEVEL', 'MAKEOVERRIDES', 'MFLAGS', 'CI')
        inherited = {name: value for name, value in os.environ.items()
                     if name not in others and not name.startswith('GTEST_')}
        with self._lock:
            if self._stopped:
                raise KeyboardInterrupt
            process = subprocess.Popen(command, cwd=directory, env=inherited | variables, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace',
                                       start_new_session=True)
            self._running.add(process)
        try:
            output = process.communicate(timeout=seconds)[0]
            return process.returncode, output
        except subprocess.TimeoutExpired:
            end_group(process)
            return None, process.communicate()[0]
        finally:
            end_group(process)
            with self._lock:
                self._running.remove(process)
            if self._stopped:
                raise KeyboardInterrupt

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                end_group(process)


def end_group(process: 'subprocess.Popen[str]') -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


# --- Claims -------------------------------------------------------------------------------------


class GoogleTest:
    """`pattern` is GoogleTest's filter."""

    def __init__(self, program: str, targets: list[str], seconds: float) -> None:
        self.targets = [f'{BUILD}/{program}', *(f'{BUILD}/{target}' for target in targets)]
        self._program = f'{BUILD}/{program}'
        self._seconds = seconds

    def tests(self, copy: 'Copy', pattern: str) -> list[str]:
        """Those that match."""
        command = [self._program, '--gtest_list_tests', f'--gtest_filter={pattern}']
        tests, suite = [], ''
        for line in copy.run(command, self._seconds)[1].splitlines():
            if line.startswith('  '):
                tests.append(suite + line.split()[0])
            elif line.split('#')[0].strip().endswith('.'):
                suite = line.split()[0]
        return tests

    def run(self, copy: 'Copy', pattern: str, fail_fast: bool = True, patience: int = 1) -> dict[str, str]:
        """The tests that did not pass, and what happened to each."""
        command = [self._program, f'--gtest_filter={pattern}', '--gtest_color=no']
        code, output = copy.run(command + ['--gtest_fail_fast'] * fail_fast, self._seconds * patience)
        started = re.findall(r'^\[ RUN      \] (\S+)', output, re.MULTILINE)
        wrong = {name: 'skipped' for name in re.findall(r'^\[  SKIPPED \] (\S+) \(', output, re.MULTILINE)}
        failed = re.findall(r'^\[  FAILED  \] (\S+?),? .*\(\d+ ms\)$', output, re.MULTILINE)
        wrong |= {name: 'fails' for name in failed}
        if code is None:
            wrong[started[-1] if started else self._program] = 'hangs'
        elif code != 0 and 'fails' not in wrong.values():
            wrong[started[-1] if started else self._program] = f'ends with {code}'
        return wrong


class Browser:
    """`pattern` is a part of the test's name."""

    targets = [f'{BUILD}/{program}' for program in ('bailian-fcgi', 'bailian-import', 'simulator')]

    def tests(self, copy: 'Copy', pattern: str) -> list[str]:
        return [pattern] if self._files(copy, pattern) else []

    def run(self, copy: 'Copy', pattern: str, fail_fast: bool = True, patience: int = 1) -> dict[str, str]:
        del fail_fast, patience
        command = ['node', '--test', '--test-reporter=tap', f'--test-name-pattern={re.escape(pattern)}',
                   *self._files(copy, pattern)]
        code, output = copy.run(command, 180, BUILD_DIR=BUILD)
        failed = [name for name in re.findall(r'^ *not ok \d+ - (.*?)(?: #.*)?$', output, re.MULTILINE)
                  if pattern in name]
        if code is None:
            return {pattern: 'hangs'}
        if failed:
            return {name: 'fails' for name in failed}
        if code != 0:
            return {pattern: f'ends with {code}'}
        passed = re.findall(r'^ *ok \d+ - (.*)$', output, re.MULTILINE)
        return {} if any(pattern in name and '# SKIP' not in name for name in passed) else {pattern: 'skipped'}

    @staticmethod
    def _files(copy: 'Copy', pattern: str) -> list[str]:
        paths = sorted((copy.tree / 'tests' / 'browser').glob('*_test.js'))
        return [str(path.relative_to(copy.tree)) for path in paths if pattern in path.read_text(encoding='utf-8')]


class Simulation:
    """`pattern` is the number of seconds. A transition that was not seen in this time is no failure."""

    targets = [f'{SIMULATION}/simulation']

    def tests(self, copy: 'Copy', pattern: str) -> list[str]:
        del copy
        return [pattern] if re.fullmatch(r'\d*|\*', pattern) else []

    def run(self, copy: 'Copy', pattern: str, fail_fast: bool = True, patience: int = 1) -> dict[str, str]:
        del fail_fast, patience
        seconds = int(pattern) if pattern.isdigit() else 30
        command = [*self.targets, '--seed', '1', '--jobs', '1', '--seconds', str(seconds)]
        code, output = copy.run(command, seconds + 120)
        violation = re.search(r'^seed (\d+): (.*)', output, re.MULTILINE)
        if violation:
            return {f'seed {violation[1]}': violation[2]}
        if code is None:
            return {'simulation': 'hangs'}
        return {} if code in (0, 1) else {'simulation': f'ends with {code}'}


class Command:
    """`pattern` is a shell command."""

    targets: list[str] = []

    def tests(self, copy: 'Copy', pattern: str) -> list[str]:
        words = shlex.split(pattern)
        return [pattern] if words and (shutil.which(words[0]) or (copy.tree / words[0]).exists()) else []

    def run(self, copy: 'Copy', pattern: str, fail_fast: bool = True, patience: int = 1) -> dict[str, str]:
        del fail_fast, patience
        code = copy.run(['sh', '-c', pattern], 120)[0]
        return {} if code == 0 else {pattern: 'hangs' if code is None else f'ends with {code}'}


KINDS: dict[str, GoogleTest | Browser | Simulation | Command] = {
    'unit': GoogleTest('unit_tests', [], 60),
    'e2e': GoogleTest('e2e_tests', ['bailian-fcgi', 'bailian-import', 'simulator', 'clock_jumps.so',
                                    'names_here.so', 'slow_resolver.so'], 180),
    'browser': Browser(),
    'simulate': Simulation(),
    'run': Command(),
}


# --- The copies ---------------------------------------------------------------------------------


class Copy:
    """A copy of the tree, with its own build directory."""

    def __init__(self, tree: Path, programs: Programs) -> None:
        self.tree = tree
        self._programs = programs

    def run(self, command: list[str], seconds: float, **variables: str) -> tuple[int | None, str]:
        return self._programs.run(command, self.tree, seconds, **variables)

    def make_equal(self) -> None:
        """Writes only the files that differ, so that make builds only what depends on them."""
        listed = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=SOURCE,
                                capture_output=True, text=True, check=True).stdout
        names = {name for name in listed.split('\0') if name and (SOURCE / name).is_file()}
        for name in names:
            ours, theirs = self.tree / name, SOURCE / name
            if not ours.is_file() or ours.read_bytes() != theirs.read_bytes():
                ours.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(theirs, ours)
            ours.chmod(theirs.stat().st_mode)
        for directory, folders, files in os.walk(self.tree):
            folders[:] = [folder for folder in folders if folder not in ('build', 'node_modules')]
            for file in files:
                path = Path(directory) / file
                if str(path.relative_to(self.tree)) not in names:
                    path.unlink()
        modules = Path('tests/browser/node_modules')
        if (SOURCE / modules).exists() and not (self.tree / modules).exists():
            (self.tree / modules).symlink_to(SOURCE / modules)

    def build(self, targets: list[str], jobs: int) -> str:
        """The output of make if it failed, else nothing."""
        for variant in sorted({target.split('/')[1] for target in targets}):
            # Without debug symbols, which take half of the build time.
            command = ['make', f'-j{jobs}', 'DEBUG=1', f'VARIANT={variant}', 'CXXFLAGS=']
            chosen = [target for target in targets if target.split('/')[1] == variant]
            code, output = self.run(command + chosen, BUILD_SECONDS)
            if code != 0:
                return output
        return ''

    @contextlib.contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """Applies the mutation. Afterwards restores the file and its objects with their times, so that make builds
        nothing again. If that is interrupted, the next make_equal() writes the file, and make builds its objects."""
        path = self.tree / mutant.file
        text, status = path.read_text(encoding='utf-8'), path.stat()
        objects = self._objects_of(mutant.file)
        for one in objects:
            one.rename(one.with_suffix('.kept'))
        try:
            path.write_text(text.replace(mutant.old, mutant.new), encoding='utf-8')
            yield
        finally:
            for one in objects:
                one.with_suffix('.kept').replace(one)
            for program in self._programs_of(objects):
                program.unlink(missing_ok=True)
            path.write_text(text, encoding='utf-8')
            if objects or not self._is_built_from(mutant.file):
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _objects_of(self, file: str) -> list[Path]:
        lists = (self.tree / 'build').glob('*/*/**/*.d')
        return [path.with_suffix('.o') for path in lists
                if path.with_suffix('.o').exists() and file in path.read_text(encoding='utf-8').split()]

    def _programs_of(self, objects: list[Path]) -> list[Path]:
        programs: list[Path] = []
        for build in (self.tree / BUILD, self.tree / SIMULATION):
            if any(one.is_relative_to(build / 'tests') for one in objects):
                programs += [path for path in build.iterdir() if path.is_file()]
            elif any(one.is_relative_to(build) for one in objects):
                programs += [build / name for name in ('product.a', 'bailian-fcgi', 'bailian-import', 'unit_tests')]
        return programs

    @staticmethod
    def _is_built_from(file: str) -> bool:
        return file.startswith(('src/', 'tests/')) or file.endswith(('Makefile', '.mk'))


# --- A run --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    kind: str  # passed, failed, skipped
    text: str
    output: str = ''


class Run:
    def __init__(self, mutants: list[Mutant], copies: int) -> None:
        self.mutants = mutants
        self.programs = Programs()
        self._copies = [Copy(COPIES / str(number + 1), self.programs) for number in range(copies)]
        self._claims = sorted({claim for mutant in mutants for claim in mutant.claims()})
        self._names: dict[tuple[str, str], list[str]] = {}  # the tests of each claim
        self._skipped: set[str] = set()  # tests
        self._outcomes: dict[str, Outcome] = {}
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Builds one copy and copies it, then runs the claimed tests without a mutant: they must pass."""
        first = self._copies[0]
        first.tree.mkdir(parents=True, exist_ok=True)
        self._in_use = COPIES.joinpath('in-use').open('w', encoding='utf-8')
        try:
            fcntl.flock(self._in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Fault(f'another run uses {COPIES}') from error
        first.make_equal()
        if complaint := first.build(self._targets({kind for kind, _ in self._claims}), len(os.sched_getaffinity(0))):
            raise Fault(f'{complaint}\n{first.tree} does not build')
        for copy in self._copies[1:]:
            shutil.rmtree(copy.tree, ignore_errors=True)
            shutil.copytree(first.tree, copy.tree, symlinks=True)
        for kind, pattern in self._claims:
            self._names[kind, pattern] = KINDS[kind].tests(first, pattern)
        unmatched = [f'{kind}:{pattern} matches no test' for (kind, pattern), names in self._names.items() if not names]
        if unmatched:
            raise Fault('\n'.join(unmatched))

        parts: list[tuple[str, list[str]]] = []
        for kind in sorted({kind for kind, _ in self._claims}):
            names = sorted({name for claim in self._claims if claim[0] == kind for name in self._names[claim]})
            count = len(self._copies) if isinstance(KINDS[kind], GoogleTest) else len(names)
            parts += [(kind, part) for number in range(count) if (part := names[number::count])]
        wrong: dict[str, str] = {}

        def run(copy: Copy, part: tuple[str, list[str]]) -> None:
            wrong.update(KINDS[part[0]].run(copy, ':'.join(part[1]), fail_fast=False, patience=len(part[1])))

        self._spread(parts, run)
        self._skipped = {name for name, what in wrong.items() if what == 'skipped'}
        if red := [f'  {name} {what}' for name, what in wrong.items() if what != 'skipped']:
            raise Fault('\n'.join(['claimed tests that do not pass without a mutant:', *red]))
        total = sum(len(names) for names in self._names.values())
        print(f'{total} claimed tests pass without a mutant', flush=True)

    def run(self) -> None:
        self._spread(self.mutants, self._test)

    def summarise(self, seconds: float) -> int:
        counts = {'passed': 0, 'failed': 0, 'skipped': 0}
        for mutant in self.mutants:
            outcome = self._outcomes[mutant.id]
            counts[outcome.kind] += 1
            if outcome.kind != 'passed':
                print(f'  {outcome.kind}: {mutant.id}: {outcome.text}. {mutant.promise} ({mutant.document})')
        print(f'{counts["passed"]} passed, {counts["failed"]} failed, {counts["skipped"]} skipped in {seconds:.0f} s')
        return 1 if counts['failed'] else 0

    def _spread(self, items, do) -> None:  # type: ignore[no-untyped-def]
        """Calls `do` for every item, in all copies at once."""
        waiting: queue.SimpleQueue = queue.SimpleQueue()  # type: ignore[type-arg]
        errors: list[BaseException] = []
        for item in items:
            waiting.put(item)

        def work(copy: Copy) -> None:
            try:
                while not errors:
                    do(copy, waiting.get_nowait())
            except queue.Empty:
                pass
            except BaseException as error:  # raised again below
                errors.append(error)

        threads = [threading.Thread(target=work, args=(copy,)) for copy in self._copies]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            self.programs.stop()
            for thread in threads:
                thread.join()
            raise
        if errors:
            raise errors[0]

    def _test(self, copy: Copy, mutant: Mutant) -> None:
        started = time.monotonic()
        with copy.mutated(mutant):
            outcome = self._outcome(copy, mutant)
        with self._lock:
            self._outcomes[mutant.id] = outcome
            seconds = time.monotonic() - started
            count = f'{len(self._outcomes)}/{len(self.mutants)}'
            print(f'{outcome.output}[{count}] {mutant.id}: {outcome.text} ({seconds:.0f} s)', flush=True)

    def _outcome(self, copy: Copy, mutant: Mutant) -> Outcome:
        for kind, pattern in mutant.claims():
            if complaint := copy.build(self._targets({kind}), 1):
                return Outcome('failed', 'does not build', complaint)
            for name, what in KINDS[kind].run(copy, pattern).items():
                if what != 'skipped':
                    return Outcome('passed', f'{kind} {name} {what}')
        if mutant.survives:
            return Outcome('skipped', f'survives: {mutant.survives}')
        if skipped := sorted({name for claim in mutant.claims() for name in self._names[claim]} & self._skipped):
            return Outcome('skipped', f'survives, but not all of its tests run here: {", ".join(skipped)}')
        return Outcome('failed', 'SURVIVES')

    @staticmethod
    def _targets(kinds: set[str]) -> list[str]:
        return sorted({target for kind in kinds for target in KINDS[kind].targets})


def chosen(arguments: argparse.Namespace) -> list[Mutant]:
    mutants, faults = read_table()
    if faults:
        raise Fault('\n'.join(faults))
    if arguments.filter:
        patterns = arguments.filter.split(':')
        mutants = [mutant for mutant in mutants if any(fnmatch.fnmatchcase(mutant.id, one) for one in patterns)]
    if arguments.sample and arguments.sample < len(mutants):
        ids = random.Random(arguments.date).sample(sorted(mutant.id for mutant in mutants), arguments.sample)
        mutants = [mutant for mutant in mutants if mutant.id in ids]
        print(f'the sample of {arguments.date}: {", ".join(sorted(ids))}')
    if arguments.tests:
        claim = arguments.tests if ':' in arguments.tests else arguments.tests + ':*'
        split_claim(claim)
        mutants = [Mutant(**vars(mutant) | {'tests': (claim,), 'survives': ''}) for mutant in mutants]
    if not mutants:
        raise Fault(f'no mutant matches FILTER={arguments.filter}')
    return mutants


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('action', choices=['run', 'check'])
    parser.add_argument('--filter', default='', metavar='ID',
                        help="only the mutants with these ids, such as 'header-*:path-limit'")
    parser.add_argument('--sample', type=int, default=0, metavar='N', help='only N mutants, different ones each day')
    parser.add_argument('--date', default=datetime.date.today().isoformat(), help='take the sample of this day')
    parser.add_argument('--tests', default='', metavar='CLAIM',
                        help='run this claim instead of those of each mutant, such as simulate:10')
    parser.add_argument('--copies', type=int, default=min(2, len(os.sched_getaffinity(0))), metavar='N',
                        help='how many mutants to test at once')
    try:
        arguments = parser.parse_args()
    except SystemExit as end:
        return 64 if end.code else 0

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    try:
        if arguments.action == 'check':
            if faults := read_table()[1]:
                raise Fault('\n'.join(faults))
            return 0
        run = Run(chosen(arguments), arguments.copies)
        try:
            run.prepare()
            run.run()
        except KeyboardInterrupt:
            run.programs.stop()
            raise
        return run.summarise(time.monotonic() - started)
    except Fault as fault:
        print(fault, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main())
