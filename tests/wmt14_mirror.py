"""A stand-in for WMT14's places: archives of the same layout."""

import gzip
import random
from functools import partial

import example_mirror
from example_mirror import EXAMPLES, Fault, Mirror, plain, refused, tar
from preparation.wmt14.pair_sources import OFFICIAL, load_sources

EXAMPLE = EXAMPLES / "wmt14"
prepare = partial(example_mirror.run_script, "wmt14")
__all__ = ["Fault", "Mirror", "plain", "prepare", "refused", "tar"]

WORDS = {
    "en": "the a house tree small green sings walks sees river bridge under over and AT&T".split(),
    "de": "das ein haus baum klein grün singt geht sieht fluss brücke unter über und AT&T".split(),
    "fr": "la une maison arbre petit vert chante marche voit fleuve pont sous sur et AT&T".split(),
}
#: pairs of training sentences by archive; the last two of each are an empty and a long one
TRAIN = {"europarl-v7": 160, "commoncrawl": 120, "news-commentary-v9": 90}
TRAIN_FR = {**TRAIN, "un": 70, "giga-fren": 60}


class Text:
    """Made-up parallel sentences: the same words in either language, and a number."""

    def __init__(self, pair, seed):
        self.pair, self.chance = pair.split("-"), random.Random(seed)

    def sentences(self, count):
        """Language -> lines; no two pairs are equal."""
        drawn = [
            (i, [self.chance.randrange(15) for _ in range(self.chance.randint(4, 12))])
            for i in range(count)
        ]
        return {
            language: [f"{' '.join(WORDS[language][w] for w in words)} {i}." for i, words in drawn]
            for language in self.pair
        }

    def corpus(self, count):
        """As ``sentences`` with an empty side, a pair of unequal length, and a duplicate."""
        lines = self.sentences(count - 3)
        source, target = self.pair
        lines[source] += ["", lines[source][0] * 20, lines[source][1]]
        lines[target] += [lines[target][2], lines[target][0], lines[target][1]]
        return lines


def official(pair):
    """The description that comes with the example."""
    return load_sources(str(OFFICIAL), pair)


def sgml(lines, kind, language):
    """A set as WMT published it: two documents, segments numbered, not quite valid."""
    out = [f'<{kind}set setid="newstest" srclang="any" trglang="{language}">\n']
    for name, part in (("first", lines[: len(lines) // 2]), ("second", lines[len(lines) // 2 :])):
        out += [f'<doc docid="{name}" genre="news" origlang="en">\n<p>\n']
        out += [f'<seg id="{i}"> {line}</seg>\n' for i, line in enumerate(part, 1)]
        out += ["</p>\n</doc>\n"]
    return "".join([*out, f"</{kind}set>\n"]).encode()


def write_archives(folder, pair, test=3003, valid=3000):
    """All archives that ``pair`` needs, of the official names and members.

    Returns:
        "train", "valid" and "test" -> language -> the sentences that are in them.
    """
    sources = official(pair)
    text, made = Text(pair, seed=pair), {"train": {}}
    for corpus in sources.train:
        lines = text.corpus(TRAIN_FR[corpus.name])
        made["train"][corpus.name] = lines
        packed = gzip.compress if corpus.name == "giga-fren" else bytes
        tar(
            folder / corpus.archive.file,
            {corpus.members[n]: packed(plain(lines[n])) for n in text.pair},
            "w:gz" if corpus.archive.file.endswith("gz") else "w",
        )
    for name, count in (("valid", valid), ("test", test)):
        corpus, lines = sources.sets[name], text.sentences(count)
        lines[text.pair[1]][0] += " AT&amp;T"  # an entity, which sacreBLEU leaves as it is
        lines[text.pair[0]][0] += " AT&amp;T"
        made[name] = lines
        kinds = ("src", "ref" if name == "test" else "src")
        members = {corpus.members[n]: sgml(lines[n], kind, n) for n, kind in zip(text.pair, kinds)}
        tar(folder / corpus.archive.file, {"unwanted.txt": b"not this\n", **members})
    if sources.google:
        write_google(folder / "wmt16_en_de.tar.gz", text, made)
    return made


def write_google(path, text, made):
    """Google's archive: tokens, " " in some words, escapes; the sets are those of ``made``."""

    def cut(line):
        line = line.replace("bridge", "bri dge").replace("brücke", "brü cke")
        return line.replace(".", " .").replace("&amp;", " &amp; ")

    train = text.sentences(300)
    parts = {"train.tok.clean.bpe.32000": train}
    parts.update({"newstest2013.tok.bpe.32000": made["valid"]})
    parts.update({"newstest2014.tok.bpe.32000": made["test"]})
    members = {
        f"./{name}.{language}": plain(cut(line) for line in lines[language])
        for name, lines in parts.items()
        for language in text.pair
    }
    tar(path, {**members, "./vocab.bpe.32000": b"the\n"})
    made["google"] = train


def describe(folder, target, unverified=("un", "giga-fren")):
    """A ``sources.json`` with the sizes and SHA-256 of the archives in ``folder``."""
    return example_mirror.describe("wmt14", folder, target, unverified)
