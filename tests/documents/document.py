#!/usr/bin/env python3
"""Reads the documents: makes the script that follows one of them; finds dead links, citations of files that are not in
the tree, and twins that differ.
  usage: document.py script DOCUMENT    prints the script, for reader.sh
         document.py lint [FOLDER]      silent and 0 when all is well; FOLDER: only the links of the documents there

Comments, which no rendered page shows, give the script what the prose gives a reader. Each is on a line of its own
before its block. PATTERN is an extended regular expression; LINE is the start of a line.
  <!-- test: skip REASON -->             the block is not run
  <!-- test: skip `LINE` REASON -->      this line of it is not run
  <!-- test: long REASON -->             run with LONG=1 only; `long `LINE` REASON` likewise
  <!-- test: edit SED -->                what the reader changes in the next file that is opened in an editor
  <!-- test: file PATH -->               the block is this file
  <!-- test: append PATH -->             the block is added to its end
  <!-- test: insert PATH PATTERN -->     the block comes after the first line that matches
  <!-- test: where NAME=VALUE -->        NAME in a block, from here on, stands for VALUE
  <!-- test: stays `LINE` PATTERN -->    this line stays in the foreground, and is ready when it prints that
  <!-- test: stop LINE -->               Ctrl-C for it
  <!-- test: expect PATTERN -->          the block prints that
  <!-- test: output -->                  the block is what the line before printed; ... stands for anything
  <!-- test: members COMMAND -->         the block has the members of the JSON that the command prints
  <!-- test: run COMMAND -->             run, but not part of the text: a reader does it unasked
"""
import glob
import os
import re
import shlex
import subprocess
import sys
import unicodedata
from pathlib import Path

# Blocks with commands to run; all others are only illustrations.
COMMANDS = ['sh']
FILES = ['apache', 'caddy', 'caddyfile', 'haproxy', 'html', 'ini', 'lighttpd', 'nginx', 'yaml', 'css', 'js']
EFFECTS = {'skip', 'long', 'file', 'append', 'insert'}
OF_A_BLOCK = EFFECTS | {'stays', 'expect', 'output', 'members'}
VERBS = OF_A_BLOCK | {'edit', 'where', 'stop', 'run'}
faults = []


def fault(place, text):
    faults.append(f'{place}: {text}')


class Block:
    def __init__(self, path, number, language, markers):
        self.path, self.number, self.language, self.markers = path, number, language, markers
        self.lines = []

    def place(self, offset=0):
        return f'{self.path}:{self.number + 1 + offset}'

    def commands(self):
        """(line number, command): a command may go on over lines."""
        found, held, first = [], [], 0
        for i, line in enumerate(self.lines):
            if not held:
                first = i
                if not line.strip() or line.lstrip().startswith('#'):
                    continue
            held.append(line)
            checked = subprocess.run(['bash', '-n'], input='\n'.join(held) + '\n', text=True, capture_output=True, check=False)
            if checked.returncode == 0 and 'here-document' not in checked.stderr and not line.endswith('\\'):
                found.append((first, '\n'.join(held)))
                held = []
        if held:
            fault(self.place(first), 'the command is incomplete')
        return found


class Marker:
    def __init__(self, path, number, text):
        self.path, self.number = path, number
        self.verb, _, rest = text.partition(' ')
        quoted = re.match(r'`([^`]+)` *(.*)', rest)
        self.line, self.rest = quoted.groups() if quoted else ('', rest)

    def place(self):
        return f'{self.path}:{self.number}'


def read(path):
    """The blocks, each with its markers, and the markers without a block, in order."""
    parts, waiting, block, indent = [], [], None, ''
    with open(path, encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip('\n')
            fence = re.match(r'( *)```([\w+-]*)$', line)
            if block:
                if fence and not fence[2]:
                    parts.append(block)
                    block = None
                else:
                    block.lines.append(line.removeprefix(indent))
            elif fence:
                indent = fence[1]
                block = Block(path, number, fence[2], waiting)
                waiting = []
            elif comment := re.match(r' *<!-- test: (.*) -->$', line):
                marker = Marker(path, number, comment[1])
                if marker.verb not in VERBS:
                    fault(marker.place(), f'no such marker: {marker.verb}')
                (waiting if marker.verb in OF_A_BLOCK else parts).append(marker)
            elif '<!-- test' in line:
                fault(f'{path}:{number}', 'a marker needs a line of its own')
            elif waiting and line.strip():
                fault(waiting[0].place(), 'no block follows this marker')
                waiting = []
    if block:
        fault(block.place(), 'the block has no end')
    return parts


def check(parts):
    for block in parts:
        if not isinstance(block, Block):
            continue
        verbs = {marker.verb for marker in block.markers if not marker.line}
        if block.language in FILES and not verbs & EFFECTS:
            fault(block.place(-1), f'{block.language}: needs a marker that says where it goes, see tests/documents/document.py')
        for marker in block.markers:
            if marker.verb in ('skip', 'long') and not marker.rest:
                fault(marker.place(), f'{marker.verb} without a reason')
            if marker.line and not any(line.startswith(marker.line) for line in block.lines):
                fault(marker.place(), f'the block has no line {marker.line}')


def arguments(marker):
    return marker.rest.split(' ', 1) if marker.verb == 'insert' else [marker.rest]


def call(*words):
    print(' '.join(shlex.quote(word) for word in words))


def script(path):
    places = {}

    def filled(text):
        for name, value in places.items():
            text = re.sub(rf'\b{re.escape(name)}\b', lambda _, value=value: value, text)
        return text

    for part in read(path):
        if isinstance(part, Marker):
            if part.verb == 'where':
                name, _, value = part.rest.partition('=')
                places[name] = value
            else:
                call(part.verb, part.place(), part.rest)
            continue
        by_verb = {marker.verb: marker for marker in part.markers if not marker.line}
        by_line = [marker for marker in part.markers if marker.line]
        if 'skip' in by_verb:
            call('skip', part.place(-1), by_verb['skip'].rest)
            continue
        if 'long' in by_verb:
            print('if [[ $LONG ]]; then')
        for verb in ('file', 'append', 'insert', 'output', 'members'):
            if verb in by_verb:
                call(verb, part.place(-1), '\n'.join(map(filled, part.lines)), *arguments(by_verb[verb]))
        if part.language in COMMANDS and not {'file', 'append', 'insert'} & by_verb.keys():
            for i, command in part.commands():
                marker = next((marker for marker in by_line if command.startswith(marker.line)), None)
                command = filled(command)
                if not marker:
                    call('step', part.place(i), command)
                elif marker.verb == 'long':
                    print('if [[ $LONG ]]; then')
                    call('step', part.place(i), command)
                    print('else')
                    call('skip', part.place(i), marker.rest)
                    print('fi')
                else:
                    call(marker.verb, part.place(i), marker.rest, command)
            if 'expect' in by_verb:
                call('expect', part.place(-1), by_verb['expect'].rest)
        if 'long' in by_verb:
            print('else')
            call('skip', part.place(-1), by_verb['long'].rest)
            print('fi')


def bare(block):
    """What both languages must have in common: lines without comments and without the words of questions and answers."""
    lines = [re.sub(r'(^|\s+)[#;] .*$', '', line).rstrip() for line in block.lines]
    return [re.sub(r'":"[^"]*"', '":""', line) for line in lines if line]


def check_twins(path, twin):
    ours, theirs = ([part for part in read(name) if isinstance(part, Block)] for name in (path, twin))
    for a, b in zip(ours, theirs):
        if a.language != b.language or (a.language in COMMANDS + FILES and bare(a) != bare(b)):
            fault(a.place(-1), f'differs from {b.place(-1)}')
            return
    if len(ours) != len(theirs):
        fault(path, f'{len(ours)} blocks, {len(theirs)} in {twin}')


def anchors(path):
    """As GitHub makes them of headings."""
    found, fenced = set(), False
    with open(path, encoding='utf-8') as file:
        for line in file:
            fenced ^= line.lstrip().startswith('```')
            heading = re.match(r'#+ +(.*)', line)
            if heading and not fenced:
                text = re.sub(r'[`*]|\[([^]]*)\]\([^)]*\)', r'\1', heading[1]).strip().lower()
                anchor = ''.join(c for c in text if c in '-_ ' or unicodedata.category(c)[0] in 'LNM').replace(' ', '-')
                while anchor in found:
                    anchor += '-1'
                found.add(anchor)
            found.update(re.findall(r'<a (?:id|name)="([^"]+)"', line))
    return found


def check_links(path, root):
    fenced = False
    with open(path, encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            fenced ^= line.lstrip().startswith('```')
            if fenced or line.lstrip().startswith('<!-- test: '):
                continue
            line = re.sub(r'`[^`]*`', '', line)
            for link in re.findall(r'\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"', line):
                target = link[0] or link[1]
                if re.match(r'[a-z]+:', target):
                    continue
                file_name, _, anchor = target.partition('#')
                target_path = os.path.normpath(os.path.join(os.path.dirname(path), file_name)) if file_name else path
                shown = os.path.relpath(path, root)
                if not os.path.exists(target_path) or os.path.relpath(target_path, root).startswith('..'):
                    fault(f'{shown}:{number}', f'dead link {target}')
                elif anchor and anchor not in anchors(target_path):
                    fault(f'{shown}:{number}', f'no heading for {target}')


# --- Citations -----------------------------------------------------------------------------------------------------

# A file named in a comment: its path from the top, from the comment's own folder or from its room, or its bare name if
# the tree contains it.
CITED = re.compile(r'(?<![\w<./*$}-])(?:\.{1,2}/)?((?:\.?[\w-]+/)*[\w.-]*\w\.(?:md|cc|h|py|sh|conf|awk|yml|yaml|po))(?![\w/(])')
# A citation that does not name its document.
UNNAMED = re.compile(r'\bcontract,? §?\d|\b(?:the )?READMEs?, "')
HEADING = re.compile(r'([\w./-]+\.md)(?:, "([^"]+)"| §(\d[\d.]*\d|\d)\b)')
SLASHES, HASH = re.compile(r'(?:^|\s)//(.*)'), re.compile(r'(?:^|\s)#(.*)')
COMMENTS = {'.cc': SLASHES, '.h': SLASHES, '.js': SLASHES} | dict.fromkeys(
    ['.py', '.sh', '.conf', '.in', '.yml', '.yaml', '.awk', '.mk', '.example', '.head', ''], HASH)
# Files that are not in the tree: the system's, a library's, or written while a program or a test runs.
NOT_OURS = {'fcgiapp.h', 'fastcgi.h', 'sysexits.h', 'zlib.h', 'report.md', 'readme.md', 'nginx.conf', 'deployment.yaml'}


def tracked():
    names = subprocess.run(['git', 'ls-files', '--cached', '--others', '--exclude-standard'], check=True, capture_output=True, text=True)
    return [name for name in names.stdout.splitlines() if os.path.isfile(name)]


def is_in_tree(cited, path, files):
    places = ('', os.path.dirname(path), 'src', 'tests', 'nginx', 'deploy')
    if any(os.path.normpath(os.path.join(place, cited)) in files for place in places):
        return True
    return '/' not in cited and any(name.endswith('/' + cited) for name in files)


def check_citation(place, path, text, files):
    for cited in CITED.findall(text):
        if cited.split('/')[0] in ('build', 'etc', 'usr', 'run', 'srv', 'var', 'sys', 'conf.d', 'snippets') or cited in NOT_OURS \
                or re.match(r'[A-Z_]+\.', os.path.basename(cited)) and 'README' not in cited:
            continue
        if not is_in_tree(cited, path, files):
            fault(place, f'cites {cited}, which is not in the tree')
    for cited in UNNAMED.findall(text):
        fault(place, f'cites a document without its path: {cited}')
    for document, heading, section in HEADING.findall(text):
        found = next((name for name in (document, os.path.join(os.path.dirname(path), document)) if name in files), None)
        wanted = re.escape(heading) + '$' if heading else re.escape(section) + '[. ]'
        if found and not re.search(f'^#+ {wanted}', Path(found).read_text(encoding='utf-8'), re.M):
            fault(place, f'cites "{heading or section}" of {document}, which has no such heading')


def check_citations():
    """In comments of sources and scripts, in what src/ says to people, and in the code spans of documents."""
    files = set(tracked())
    for path in sorted(files):
        extension = os.path.splitext(path)[1]
        if extension not in COMMENTS and extension != '.md' or path.startswith(('tests/data/', 'tests/fuzz/corpus/')):
            continue
        with open(path, encoding='utf-8') as file:
            for number, line in enumerate(file, 1):
                if extension == '.md':
                    if path == 'tests/simulator/contract.md':
                        break  # its sources are files of others
                    for span in re.findall(r'`((?:src|tests|deploy|nginx)/[^` ]+)`', line):
                        if not glob.glob(span):
                            fault(f'{path}:{number}', f'cites {span}, which is not in the tree')
                    continue
                comment = COMMENTS[extension].search(line)
                texts = [comment[1]] if comment else []
                if path.startswith('src/') and not line.startswith('#include'):
                    texts += re.findall(r'"((?:[^"\\]|\\.)*\.md\b(?:[^"\\]|\\.)*)"', line.split('//')[0])
                for text in texts:
                    check_citation(f'{path}:{number}', path, text, files)


def lint(roots):
    for root in roots:
        for folder, inner, names in os.walk(root):
            inner[:] = [name for name in inner if name not in ('node_modules', 'build', '.git')]
            for name in names:
                if name.endswith('.md'):
                    check_links(os.path.join(folder, name), root)
    if roots != ['.']:
        return
    check_citations()
    for path in sorted(glob.glob('*.md') + glob.glob('deploy/*.md') + glob.glob('nginx/**/*.md', recursive=True)):
        if path.endswith('.zh-CN.md'):
            continue
        check(read(path))
        twin = path.removesuffix('.md') + '.zh-CN.md'
        if os.path.exists(twin):
            check_twins(path, twin)


def main():
    if sys.argv[1:2] == ['script'] and len(sys.argv) == 3:
        script(sys.argv[2])
    elif sys.argv[1:2] == ['lint']:
        lint(sys.argv[2:] or ['.'])
    else:
        sys.exit(__doc__)
    for each in faults:
        print(each, file=sys.stderr)
    sys.exit(1 if faults else 0)


main()
