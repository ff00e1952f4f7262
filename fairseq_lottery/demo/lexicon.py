"""Small tables of words in English and German, written for this demo."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Noun:
    """A noun in both languages; gender is ``m``, ``f`` or ``n``."""

    english: str
    english_plural: str
    german: str
    gender: str
    german_plural: str


@dataclass(frozen=True)
class Verb:
    """A verb in both languages.

    ``ich`` and ``er`` are finite forms without the separable prefix, the plural is the infinitive
    without it, and ``participle`` includes it. ``frame`` is the complement of the verb:
    ``none``, a ``thing`` or a ``person`` in the accusative, a person in the ``dative``,
    ``give`` (dative and accusative), ``put`` (a thing and its new place).
    """

    english: str
    english_third: str
    english_participle: str
    german: str
    ich: str
    er: str
    participle: str
    prefix: str
    frame: str


def rows(text: str) -> tuple[tuple[str, ...], ...]:
    """Return the cells of a table in lines of text."""
    lines = (line.split("|") for line in text.strip().splitlines())
    return tuple(tuple(map(str.strip, cells)) for cells in lines)


def _nouns(text: str) -> tuple[Noun, ...]:
    return tuple(Noun(*row) for row in rows(text))


PEOPLE = _nouns("""
man | men | Mann | m | Männer
woman | women | Frau | f | Frauen
child | children | Kind | n | Kinder
teacher | teachers | Lehrer | m | Lehrer
girl | girls | Mädchen | n | Mädchen
friend | friends | Freund | m | Freunde
king | kings | König | m | Könige
queen | queens | Königin | f | Königinnen
doctor | doctors | Arzt | m | Ärzte
aunt | aunts | Tante | f | Tanten
grandmother | grandmothers | Großmutter | f | Großmütter
baker | bakers | Bäcker | m | Bäcker
singer | singers | Sängerin | f | Sängerinnen
guest | guests | Gast | m | Gäste
thief | thieves | Dieb | m | Diebe
baby | babies | Baby | n | Babys
dog | dogs | Hund | m | Hunde
cat | cats | Katze | f | Katzen
horse | horses | Pferd | n | Pferde
goat | goats | Ziege | f | Ziegen
""")

THINGS = _nouns("""
apple | apples | Apfel | m | Äpfel
book | books | Buch | n | Bücher
letter | letters | Brief | m | Briefe
lamp | lamps | Lampe | f | Lampen
key | keys | Schlüssel | m | Schlüssel
door | doors | Tür | f | Türen
window | windows | Fenster | n | Fenster
table | tables | Tisch | m | Tische
chair | chairs | Stuhl | m | Stühle
bag | bags | Tasche | f | Taschen
picture | pictures | Bild | n | Bilder
glass | glasses | Glas | n | Gläser
knife | knives | Messer | n | Messer
clock | clocks | Uhr | f | Uhren
coat | coats | Mantel | m | Mäntel
house | houses | Haus | n | Häuser
tree | trees | Baum | m | Bäume
bridge | bridges | Brücke | f | Brücken
car | cars | Auto | n | Autos
ship | ships | Schiff | n | Schiffe
box | boxes | Kiste | f | Kisten
hat | hats | Hut | m | Hüte
ring | rings | Ring | m | Ringe
flower | flowers | Blume | f | Blumen
egg | eggs | Ei | n | Eier
""")

# First parts of compounds: "kitchen table" is one word, "Küchentisch", in German.
MODIFIERS = rows("""
kitchen | Küchen
garden | Garten
school | Schul
city | Stadt
village | Dorf
summer | Sommer
winter | Winter
night | Nacht
paper | Papier
silver | Silber
wood | Holz
iron | Eisen
""")

ADJECTIVES = rows("""
old | alt
new | neu
small | klein
big | groß
red | rot
blue | blau
green | grün
beautiful | schön
heavy | schwer
cheap | billig
young | jung
poor | arm
rich | reich
tired | müd
black | schwarz
white | weiß
clever | klug
cold | kalt
strange | fremd
ugly | hässlich
""")

VERBS = tuple(
    Verb(*row)
    for row in rows("""
sleep | sleeps | slept | schlafen | schlafe | schläft | geschlafen | | none
wait | waits | waited | warten | warte | wartet | gewartet | | none
work | works | worked | arbeiten | arbeite | arbeitet | gearbeitet | | none
sing | sings | sung | singen | singe | singt | gesungen | | none
dance | dances | danced | tanzen | tanze | tanzt | getanzt | | none
stop | stops | stopped | hören | höre | hört | aufgehört | auf | none
see | sees | seen | sehen | sehe | sieht | gesehen | | thing
buy | buys | bought | kaufen | kaufe | kauft | gekauft | | thing
sell | sells | sold | verkaufen | verkaufe | verkauft | verkauft | | thing
find | finds | found | finden | finde | findet | gefunden | | thing
paint | paints | painted | malen | male | malt | gemalt | | thing
carry | carries | carried | tragen | trage | trägt | getragen | | thing
steal | steals | stolen | stehlen | stehle | stiehlt | gestohlen | | thing
forget | forgets | forgotten | vergessen | vergesse | vergisst | vergessen | | thing
pick up | picks up | picked up | heben | hebe | hebt | aufgehoben | auf | thing
open | opens | opened | machen | mache | macht | aufgemacht | auf | thing
close | closes | closed | machen | mache | macht | zugemacht | zu | thing
take along | takes along | taken along | nehmen | nehme | nimmt | mitgenommen | mit | thing
throw away | throws away | thrown away | werfen | werfe | wirft | weggeworfen | weg | thing
look at | looks at | looked at | sehen | sehe | sieht | angesehen | an | thing
love | loves | loved | lieben | liebe | liebt | geliebt | | person
wash | washes | washed | waschen | wasche | wäscht | gewaschen | | person
seek | seeks | sought | suchen | suche | sucht | gesucht | | person
call | calls | called | rufen | rufe | ruft | angerufen | an | person
invite | invites | invited | laden | lade | lädt | eingeladen | ein | person
help | helps | helped | helfen | helfe | hilft | geholfen | | dative
thank | thanks | thanked | danken | danke | dankt | gedankt | | dative
answer | answers | answered | antworten | antworte | antwortet | geantwortet | | dative
trust | trusts | trusted | vertrauen | vertraue | vertraut | vertraut | | dative
listen to | listens to | listened to | hören | höre | hört | zugehört | zu | dative
give | gives | given | geben | gebe | gibt | gegeben | | give
show | shows | shown | zeigen | zeige | zeigt | gezeigt | | give
send | sends | sent | schicken | schicke | schickt | geschickt | | give
lend | lends | lent | leihen | leihe | leiht | geliehen | | give
give back | gives back | given back | geben | gebe | gibt | zurückgegeben | zurück | give
put | puts | put | stellen | stelle | stellt | gestellt | | put
lay | lays | laid | legen | lege | legt | gelegt | | put
""")
)

# English, German for ich, German for er, German plural; the verb goes to the end.
MODALS = rows("""
can | kann | kann | können
must | muss | muss | müssen
may | darf | darf | dürfen
should | soll | soll | sollen
""")

# Verbs that take a that-clause: English, English third, German ich, er, plural.
SAYING = rows("""
say | says | sage | sagt | sagen
know | knows | weiß | weiß | wissen
believe | believes | glaube | glaubt | glauben
hope | hopes | hoffe | hofft | hoffen
""")

CONJUNCTIONS = (("because", "weil"), ("if", "wenn"), ("although", "obwohl"), ("until", "bis"))
ADVERBS = (("today", "heute"), ("now", "jetzt"), ("often", "oft"), ("here", "hier"))

# English, German, case; with prepositions of place it depends on the verb.
PREPOSITIONS = (
    ("with", "mit", "dat"),
    ("from", "von", "dat"),
    ("for", "für", "acc"),
    ("without", "ohne", "acc"),
    ("against", "gegen", "acc"),
)
PLACES = (("behind", "hinter"), ("under", "unter"), ("beside", "neben"), ("in front of", "vor"))
