#!/usr/bin/env python3
"""The tables that the documents share with the sources.
  usage: tables.py write      rewrites them (`make documents`)
         tables.py lint       silent and 0 when they are up to date

A table stands between <!-- table: NAME --> and <!-- /table -->. Its one source:
  settings   .env.example, by deploy/man/settings.awk
  metrics    the help texts in src/telemetry
  faults     kFaults in src/dashscope/error_codes.cc: what `ping` prints, and what a visitor gets
  errors     the English document; every error that src/ sends must have a row, and every row an error
  events     the English document; every event that src/ logs must have a row, and every row an event
The Chinese document has the same table, each cell translated by zh-CN.po. A cell that consists of code and figures
needs no translation.
"""
import glob
import os
import re
import subprocess
import sys
from pathlib import Path

CATALOGUE = Path('tests/documents/zh-CN.po')
faults: list[str] = []
used: set[str] = set()


def read(path):
    return Path(path).read_text(encoding='utf-8')


def sources():
    """With string literals that go on over lines put together."""
    paths = sorted(path for path in glob.glob('src/**/*', recursive=True) if path.endswith(('.cc', '.h')))
    return {path: re.sub(r'"\s*\n\s*"', '', read(path)) for path in paths}


def row(*cells):
    return '| ' + ' | '.join(cells) + ' |'


# --- Data from the sources ------------------------------------------------------------------------------------------


def settings():
    command = ['awk', '-v', 'form=markdown', '-f', 'deploy/man/settings.awk', '.env.example']
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def metrics():
    text = ''.join(text for path, text in sources().items() if path.startswith('src/telemetry/'))
    found = re.findall(r'"((?:bailian|process)_\w+)"[,)]\s*(?:\.Help\()?"([^"]+)"', text)
    return ['| family | meaning |', '|---|---|'] + [row(f'`{name}`', help_text) for name, help_text in sorted(found)]


def upstream_faults():
    text = sources()['src/dashscope/error_codes.cc']
    rows = re.findall(r'\{k\w+,\s*"(\w+)",\s*(\d+),\s*"(\w+)",\s*"([^"]+)",\s*EX_(\w+),\s*("[^"]+"|\w+),\s*CoolDown::\w+\}', text)
    named = dict(re.findall(r'constexpr std::string_view (\w+) =\s*("[^"]+");', text))
    return ['| `fault` | visitors get | advice | exit code |', '|---|---|---|---|'] + [
        row(f'`{label}`', f'{status} `{code}`, `{words}`', named.get(advice, advice).strip('"'), str(getattr(os, f'EX_{name}')))
        for label, status, code, words, name, advice in rows]


def status_codes():
    """(status, code, message) of every error that the program answers by itself."""
    found = set()
    for text in sources().values():
        found |= set(re.findall(r'[({,]\s*(\d{3}),\s*"(\w+)",\s*(?:fmt::format\(\s*)?"([^"]+)"', text))
        found |= {('400', 'invalid_request', message) for message in
                  re.findall(r'(?:invalid_request|refused)\((?:fmt::format\()?"([^"]+)"', text)
                  if 'invalid_request' in text or message.startswith('biz_params')}
    return found


def events():
    found = {}
    for text in sources().values():
        for level, event in re.findall(r'\w\(LogLevel::k(\w+),\s*"(\w+)"', text):
            found.setdefault(event, set()).add(level.lower())
    return found


# --- Tables of the English documents that must agree with them --------------------------------------------------------


def cells(line):
    return [cell.strip().replace('\\|', '|') for cell in re.split(r'(?<!\\)\|', line)[1:-1]]


def code_of(cell):
    return re.findall(r'`([^`]+)`', cell)


def check_errors(path, lines):
    told = {(status, code.strip('`'), start) for status, code, starts, *_ in map(cells, lines[2:])
            for start in code_of(starts)}
    sent = status_codes()
    for status, code, message in sorted(sent):
        if not any(status == s and code == c and message.startswith(m) for s, c, m in told):
            faults.append(f'{path}: the table has no row for {status} {code} "{message}"')
    for status, code, start in sorted(told):
        if not any(status == s and code == c and m.startswith(start) for s, c, m in sent):
            faults.append(f'{path}: nothing in src sends {status} {code} "{start}"')


def check_events(path, lines):
    told = {}
    for event, level, *_ in map(cells, lines[2:]):
        told.update({name: set(code_of(level)) for name in code_of(event)})
    logged = events()
    for event in sorted(logged.keys() - told.keys()):
        faults.append(f'{path}: the table has no row for the event {event}')
    for event in sorted(told.keys() - logged.keys() - {'request'}):
        faults.append(f'{path}: nothing in src logs the event {event}')
    for event in sorted(logged.keys() & told.keys()):
        if logged[event] != told[event]:
            faults.append(f'{path}: {event} is logged as {", ".join(sorted(logged[event]))}')


MADE = {'settings': settings, 'metrics': metrics, 'faults': upstream_faults}
CHECKED = {'errors': check_errors, 'events': check_events}

# --- Chinese -------------------------------------------------------------------------------------------------------


def read_catalogue():
    """msgid -> msgstr. A text may go on over lines, each in quotes, as gettext has it."""
    entries, into, pair = {}, '', {'msgid': '', 'msgstr': ''}
    for line in read(CATALOGUE).splitlines() + ['msgid ""']:
        if line.startswith('msgid '):
            if pair['msgid']:
                entries[pair['msgid']] = pair['msgstr']
            pair = {'msgid': '', 'msgstr': ''}
        if match := re.match(r'(?:(msgid|msgstr) )?"(.*)"$', line):
            into = match[1] or into
            pair[into] += match[2].replace('\\"', '"').replace('\\\\', '\\')
    return entries


def translate(path, text, catalogue):
    if not re.search(r'[A-Za-z]{2}', re.sub(r'`[^`]*`', '', text)):
        return text
    used.add(text)
    if not catalogue.get(text):
        faults.append(f'{path}: {CATALOGUE} has no Chinese for: {text}')
    return catalogue.get(text) or text


def in_chinese(path, lines, catalogue):
    translated = []
    for line in lines:
        if line.startswith('|') and not line.startswith('|---'):
            line = row(*(translate(path, cell, catalogue) for cell in cells(line)))
            line = line.replace('|  |', '| |').replace('|  |', '| |')
        elif heading := re.match(r'(#+ )(.*)', line):
            line = heading[1] + translate(path, heading[2], catalogue)
        translated.append(line)
    return translated


# --- Documents -----------------------------------------------------------------------------------------------------


def each_table(path, change):
    """The document with each table replaced by what `change` makes of its name and lines."""
    def replaced(match):
        name, lines = match[1], match[2].strip('\n').splitlines()
        return f'<!-- table: {name} -->\n' + '\n'.join(change(name, lines)) + '\n<!-- /table -->'

    text = re.sub(r'<!-- table: (\w+) -->\n(.*?)<!-- /table -->', replaced, read(path), flags=re.S)
    return text


def documents():
    """The wanted text of each document with tables."""
    wanted, tables = {}, {}
    paths = [path for path in sorted(glob.glob('*.md') + glob.glob('deploy/*.md') + glob.glob('nginx/**/*.md', recursive=True))
             if '<!-- table: ' in read(path)]

    def english(path):
        def change(name, lines):
            if name in CHECKED:
                CHECKED[name](path, lines)
            elif name not in MADE:
                sys.exit(f'{path}: no such table: {name}')
            tables[name] = MADE[name]() if name in MADE else lines
            return tables[name]
        return change

    catalogue = read_catalogue()
    for path in paths:
        if not path.endswith('.zh-CN.md'):
            wanted[path] = each_table(path, english(path))
    for path in paths:
        if path.endswith('.zh-CN.md'):
            wanted[path] = each_table(path, lambda name, _, path=path: in_chinese(path, tables[name], catalogue))
    for text in sorted(catalogue.keys() - used):
        faults.append(f'{CATALOGUE}: no table has: {text}')
    return wanted


def main():
    if sys.argv[1:] not in (['write'], ['lint']):
        sys.exit(__doc__)
    for path, text in documents().items():
        if sys.argv[1] == 'write':
            Path(path).write_text(text, encoding='utf-8')
        elif text != read(path):
            faults.append(f'{path}: a table is out of date: make documents')
    for each in faults:
        print(each, file=sys.stderr)
    sys.exit(1 if faults else 0)


main()
