"""Nouns and adjectives: small tables of English and German, written for this demo."""

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
