"""Which clip art of Debian's package openclipart-svg is in the dataset: title, keywords, class and text of each file.

The package has a folder for each subject and the same drawing in several folders. The folders decide the class; the
metadata of the SVG file, in Dublin Core, has title, keywords, creator and licence.
"""

import html
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path, PurePosixPath

DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
PUBLIC_DOMAIN = re.compile(r"public ?domain", re.IGNORECASE)


def _split(text):
    return text.split()


# The class of each folder and of the folders below it; "" for those that are left out.
FOLDERS = {
    "animals": "animals",
    "animals/fantasy": "",
    "buildings": "buildings",
    "buildings/furniture": "household",
    "computer/connectors": "electronics",
    "computer/hardware": "electronics",
    "computer/network": "electronics",
    "containers": "household",
    "education": "office",
    "electronics": "electronics",
    "food": "food",
    "food/fruit": "fruit and vegetables",
    "food/vegetables": "fruit and vegetables",
    "geography/astronomy": "sky",
    "office": "office",
    "office/telephone": "electronics",
    "people": "people",
    "people/bodypart": "",
    "people/clothing": "clothing",
    "people/clothing/pantyhose": "",
    "people/smilies": "",
    "plants": "plants",
    "recreation/games": "games",
    "recreation/games/cards": "",
    "recreation/holiday": "celebrations",
    "recreation/music": "music",
    "recreation/party": "celebrations",
    "recreation/sports": "games",
    "recreation/toys": "games",
    "science/astronomy": "sky",
    "signs_and_symbols/clocks": "household",
    "signs_and_symbols/flags/africa": "flags",
    "signs_and_symbols/flags/america": "flags",
    "signs_and_symbols/flags/america/canada": "",
    "signs_and_symbols/flags/america/united_states": "",
    "signs_and_symbols/flags/asia": "flags",
    "signs_and_symbols/flags/asia/china": "",
    "signs_and_symbols/flags/europe": "flags",
    **{
        f"signs_and_symbols/flags/europe/{country}": ""
        for country in (
            "belgium",
            "denmark",
            "finland",
            "france",
            "germany",
            "italy",
            "norway",
            "spain",
            "united_kingdom",
        )
    },
    "signs_and_symbols/weather": "sky",
    "tools": "tools",
    "tools/toys": "games",
    "tools/weapons": "",
    "transportation": "vehicles",
    "transportation/aiga-symbols": "",
    "transportation/roadsigns": "road signs",
}
CLASSES = tuple(sorted(set(FOLDERS.values()) - {""}))
# Of a drawing in folders of both classes, the first one is left: the folder of the second also has other things.
NARROWER = (
    ("fruit and vegetables", "food"),
    ("clothing", "people"),
    ("household", "buildings"),
    ("electronics", "office"),
    ("road signs", "vehicles"),
    ("office", "tools"),
    *((name, "celebrations") for name in CLASSES if name != "celebrations"),
)

# Drawings that are left out, by the start of their file names: no object of their class, such as the diagrams of knots
# and of sailing and maps among the flags; damaged ones; pictures of real people; characters that belong to somebody.
LEFT_OUT = re.compile(
    "|".join(
        _split("""
        boating_rules knot_ sailing_(close|jibe|points|reaching|running|tack) sailboat_illustration_labels street_sign
        road_runner little_tan_suitcase cycle_route curve_ahead shelby_cobra_blueprint plane_in_the_sky
        andalusia aragon asturias canarian cantabria catalunya czech_republic_map euskadi extremadura galicia map_of
        murcia rios_de ukrainian_map arkansas
        tux_didier_fabert cross_hand_drawn arrow1_ large_braces laser_pointer otto bluepane mars_lumograph reunion
        logaritmic kexi three_eyes lucchetto mascot c_rollandin tsunami
        john_coltrane martin_luther jacob_leisler self_portrait my_lovely_baby hide_girl pregnancy sexy
        silhouette_(fe)?male a_happy_boy samoa safety_pin van_gogh icons_lumen fire_engine_mimooh
        domo_kun cartoon_vgcats pacman
        """)
    )
)
# Words of a text that say its class, not what is drawn: names of the classes, of their folders, and what the library
# calls a whole class. The name of a folder that is also what people call one object, such as bird or tree, stays.
CLASS_WORDS = frozenset(
    _split("""
    animal animals animale animali mammal mammals bug bugs
    building buildings home homes architecture
    celebration celebrations festive festivity holiday holidays usholiday party parties recreation entertainment
    clothing clothes cloth jewelry
    electronic electronics electronica electric electrical electricity computer computers hardware network networks
    networksym networking connector connectors device devices
    food foods drink drinks beverage beverages alcohol foodstuff menu carbohydrate carbohydrates carbs
    protein dairy meat meats dessert desserts
    fruit fruits fruta frutta vegetable vegetables vegitable vegitables veggie
    flag flags signalflag united_nations_member united nations member international subnational
    game games toy toys sport sports sporting activities
    household furniture container containers
    music musical musicstuff musicsym instrument instruments
    office education study
    people person persons persone stickman stickmen
    plant plants flora pianta piante
    road roads roadsign roadsigns sign signs signalisation
    sky weather weathersym astronomy atmosphere space
    tool tools utensile equipment weapon weapons work
    vehicle vehicles transport transportation roadtravel airtravel travel traffic boating
    """)
)
# Words that say nothing of the drawing: of the library itself, its forms, its errors.
NOISE = frozenset(
    _split("""
    unsorted symbol symbols icon icons iconset clip art clipart cliparts openclipart svg logo logos shape shapes image
    images illustration drawing picture graphic graphics vector theme contour silhouette silhouettes bw hash
    architetto francesco rollandin nicu buculei abiclipart sibmission r16 various untitled
    mapsym sallite etiquette
    """)
)
SMALL_WORDS = frozenset(
    _split("a an the of in on and with for to by at or from is it la il le di da de con del della un una")
)
_IN_BRACKETS = re.compile(r"[<(\[][^<(\[]*@[^>)\]]*[>)\]]")
_AFTER_DASH = re.compile(r"\s+-\s+\S+@\S+$")
_DUMP = re.compile(r"hash\(0x[0-9a-f]+\)", re.IGNORECASE)
_LETTERS = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]+")  # the latter are addresses that a program of the library left in keywords


def read_metadata(path):
    """Title, keywords, creator and licences of an SVG file, or `None` where it has no metadata."""
    root = ElementTree.parse(path).getroot()
    work = next((element for element in root.iter() if element.tag.endswith("}Work")), None)
    if work is None:
        return None

    def texts(name):
        found = (
            html.unescape(text).strip() for element in work.findall(DUBLIN_CORE + name) for text in element.itertext()
        )
        return [" ".join(text.split()) for text in found if text]

    licences = [
        value
        for element in root.iter()
        if element.tag.endswith("}license")
        for value in (*element.attrib.values(), element.text or "")
        if value.strip()
    ]
    return {
        "title": " ".join(texts("title")),
        "keywords": sorted({keyword.lower() for keyword in texts("subject")}),
        "creator": ", ".join(filter(None, map(without_address, texts("creator")))),
        "licences": licences,
    }


def without_address(name):
    """A creator's name without an e-mail address; of an address alone what stands before the @; "" for a dump."""
    if _DUMP.fullmatch(name):
        return ""
    if "@" in name.split()[0]:
        return name.split("@")[0].strip("<([ ")
    return " ".join(_IN_BRACKETS.sub("", _AFTER_DASH.sub("", name)).split())


def is_public_domain(metadata):
    """Whether a file says itself that it is in the public domain, and nothing else."""
    return bool(metadata["licences"]) and all(PUBLIC_DOMAIN.search(licence) for licence in metadata["licences"])


def class_of_folder(file):
    """The class of a file by the nearest folder in `FOLDERS`; `None` where no folder is there, "" for left out."""
    return next((FOLDERS[str(folder)] for folder in PurePosixPath(file).parents if str(folder) in FOLDERS), None)


def class_of(files):
    """The class of a drawing that stands in `files`; `None` where they name none or several."""
    classes = {class_of_folder(file) for file in files} - {None, ""}
    classes -= {wider for narrower, wider in NARROWER if narrower in classes}
    return classes.pop() if len(classes) == 1 else None


def plain(text):
    """`text` with spaces for underscores, between the words of CamelCase and before digits at the end of a word."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", text.replace("_", " "))
    return " ".join(re.sub(r"(?<=[a-z])(?=\d+\b)", " ", text).split())


def words_of(text):
    """The words of `text` in lower case."""
    return _LETTERS.findall(text.lower())


def name_items(items):
    """Set `name` of each item: its title, or its file name where the title is that of a whole collection.

    Many titles are those of the collection that a drawing came with, such as "SVG Road Signs" or "R16 sibmission". Such
    a title is shared by files whose names have nothing to do with it.
    """
    unlike = {}
    for item in items:
        stem = "".join(words_of(PurePosixPath(item["file"]).name))
        if not stem.startswith("".join(words_of(item["title"]))[:8]):
            unlike.setdefault(item["title"], set()).add(stem.rstrip("0123456789"))
    for item in items:
        title, creator = item["title"], words_of(item["creator"])
        collection = len(unlike.get(title, ())) >= 3 or words_of(title) == creator or "@" in title
        if collection or title.startswith("Clipart by") or not words_of(title):
            words = [word for word in words_of(plain(PurePosixPath(item["file"]).name)) if not word.isdigit()]
            # The end of a file name is the creator's, often cut off.
            while len(words) > 1 and any(part.startswith(words[-1]) for part in creator):
                words.pop()
            title = " ".join(words)
        item["name"] = plain(title)


def text_of(item):
    """The text of an item: the words of its name and keywords without those that name its class."""
    creator = set(words_of(item["creator"]))
    words = words_of(plain(item["name"]))
    for keyword in item["keywords"]:
        if not keyword.startswith("http"):
            words += [word for word in words_of(keyword.replace("_", " ")) if word not in creator]
    kept = (word for word in words if word not in CLASS_WORDS | NOISE | SMALL_WORDS and not _NUMBER.fullmatch(word))
    return " ".join(dict.fromkeys(word for word in kept if len(word) > 1))


def read_items(root):
    """Every file with a class that says that it is in the public domain, in the order of their names.

    Args:
        root: the folder `usr/share/openclipart` of the unpacked packages.

    Returns:
        Dicts with `file`, `title`, `keywords`, `creator`, `name` and `text`; and the files that were left out because
        of their licence.
    """
    items, refused = [], []
    for path in sorted((Path(root) / "svg").rglob("*.svg")):
        file = path.relative_to(Path(root) / "svg").with_suffix("").as_posix()
        if not class_of_folder(file) or LEFT_OUT.match(path.name):
            continue
        metadata = read_metadata(path)
        if metadata and is_public_domain(metadata):
            items.append({"file": file, **metadata})
        else:
            refused.append(file)
    name_items(items)
    for item in items:
        item["text"] = text_of(item)
    return items, refused
