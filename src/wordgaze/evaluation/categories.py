"""Which words of a caption name one of COCO's 80 categories.

Boxes say where things are, captions what they are called; this table joins them, for measuring maps. It would rather
miss a thing than name a wrong one: a wrong one would blame a map for looking where the word points.

Rules for words that could be read in several ways:

- COCO's own habits hold: a mug is a cup, a stove an oven, a hamburger a sandwich, a cupcake a cake, a monitor a tv, a
  panda a bear, luggage suitcases. Words that its annotators put into different categories are left out: computer, van,
  glass, stool, desk, bag, scooter, controller, stuffed animal, goat.
- A longer name goes before a shorter one: "hot dog" is no dog, "teddy bear" no bear, "sheep dog" no sheep, "wine glass"
  its own. ``_NOTHING`` lists names that contain a category's word and are no such thing: "bus stop", "toaster oven".
- Sports are not their gear: "baseball", "tennis" and "skiing" name nothing, "bat", "racket" and "ball" do.
- Colors are not fruit: "orange" alone counts after an article and before a word that can't be what it describes.
- Verbs are not things: "tie", "train", "skis" and so on don't count after "to", a pronoun or a person ("a man skis").
- "bike" is a bicycle, unless the caption speaks of motorcycles too.
- "baby", "mother", "adult" and so on are not people in a caption that names an animal ("a zebra and its mother").
- "couple", "family" and "crowd" are people, unless "of" follows ("a couple of zebras").
- Toys, statues and pictures of things are not the things: "toy truck", "bear statue", "a painting of a woman".
- Possessives ("a man's hand") and pronouns name nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

CATEGORIES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase"),
    *("frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove"),
    *("skateboard", "surfboard", "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon"),
    *("bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut"),
    *("cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse"),
    *("remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book"),
    *("clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)
"""COCO's names, in its order."""


class ObjectMention(NamedTuple):
    """A category, and the words ``[start, stop)`` that name it."""

    category: str
    start: int
    stop: int


# Singular; the category's own name and the plurals are added. Names of several words end at a comma.
_NAMES = {
    "person": """man, woman, boy, girl, child, kid, guy, lady, gentleman, adult, baby, toddler, infant, teen, teenager,
        human, individuals, someone, somebody, people, mother, mom, father, dad, parent, son, daughter,
        brother, sister, grandmother, grandfather, husband, wife, friend, bride, groom, couple, family,
        crowd, audience, spectator, onlooker, bystander, pedestrian, passenger, commuter, driver,
        tourist, customer, shopper, vendor, patron, guest, student, teacher, worker, farmer, fisherman,
        chef, waiter, waitress, bartender, businessman, businesswoman, policeman, police officer,
        officer, cop, fireman, firefighter, soldier, sailor, cowboy, cowgirl, monk, priest, doctor,
        nurse, dentist, musician, performer, player, batter, catcher, baseball pitcher, umpire, referee,
        athlete, skier, snowboarder, snow boarder, skateboarder, skate boarder, skater, boarder, surfer,
        kite surfer, wind surfer, windsurfer, swimmer, hiker, runner, jockey, rider, cyclist, bicyclist,
        biker, motorcyclist, bus driver, truck driver, train conductor, ball player, ballplayer, ball
        boy""",
    "bicycle": "bike, mountain bike, tricycle",
    "car": "automobile, taxi, taxi cab, sedan, suv, police car, race car",
    "motorcycle": "motorbike, motor bike, motor cycle, moped, motor scooter, vespa, dirt bike, dirtbike",
    "airplane": """plane, jet, jumbo jet, passenger jet, passenger plane, passenger airplane, fighter jet,
        fighter plane, airliner, jetliner, passenger airliner, aeroplane, aircraft, biplane, bi plane, seaplane""",
    "bus": "passenger bus, double decker bus, school bus, tour bus, minibus",
    "train": "passenger train, commuter train, locomotive, steam engine, train engine, train car",
    "truck": "pickup, pickup truck, pick up truck, fire truck, firetruck, lorry",
    "boat": """sailboat, sail boat, rowboat, row boat, speedboat, motorboat, tugboat, tug boat, canoe, kayak, ship,
        yacht, ferry, ferry boat, barge""",
    "traffic light": "stoplight, stop light, traffic signal",
    "fire hydrant": "hydrant",
    "stop sign": "stopsign",
    "parking meter": "",
    "bench": "park bench",
    "bird": """seagull, gull, sea gull, duck, duckling, goose, pigeon, parrot, parakeet, cockatoo, macaw, owl, swan,
        eagle, hawk, falcon, vulture, crow, raven, sparrow, robin, finch, dove, hummingbird, woodpecker,
        flamingo, ostrich, peacock, pelican, penguin, heron, egret, stork, blackbird""",
    "cat": "kitten, kitty",
    "dog": """puppy, pup, doggy, poodle, bulldog, bull dog, pit bull, pug, dachshund, terrier, chihuahua, beagle,
        corgi, labrador, retriever, german shepherd, dalmatian, collie, spaniel, rottweiler, sheepdog,
        sheep dog, hound""",
    "horse": "pony, foal, stallion, mare, colt",
    "sheep": "lamb, ram, ewe",
    "cow": "cattle, calf, bull, ox, heifer, longhorn",
    "elephant": "",
    "bear": "bear cub, polar bear, grizzly, grizzly bear, panda, panda bear",
    "zebra": "",
    "giraffe": "",
    "backpack": "back pack, rucksack, knapsack",
    "umbrella": "parasol",
    "handbag": "hand bag, purse",
    "tie": "necktie, neck tie, bowtie, bow tie",
    "suitcase": "suit case, luggage",
    "frisbee": "flying disc, flying disk",
    "skis": "",
    "snowboard": "snow board",
    "sports ball": "ball, soccer ball, tennis ball, baseball ball, beach ball",
    "kite": "",
    "baseball bat": "bat",
    "baseball glove": "baseball mitt, catcher's mitt, catchers mitt, mitt",
    "skateboard": "skate board",
    "surfboard": "surf board",
    "tennis racket": "racket, racquet, tennis racquet, raquet, tennis raquet",
    "bottle": "wine bottle",
    "wine glass": "wineglass, glass of wine, glass of red wine, glass of white wine, champagne glass",
    "cup": "mug, teacup, tea cup, coffee cup",
    "fork": "",
    "knife": "",
    "spoon": "",
    "bowl": "",
    "banana": "",
    "apple": "",
    "sandwich": "burger, hamburger, cheeseburger, panini",
    "orange": "orange slice",
    "broccoli": "brocolli, brocoli, broccolli",
    "carrot": "baby carrot",
    "hot dog": "hotdog, chili dog",
    "pizza": "",
    "donut": "doughnut",
    "cake": "cupcake, cup cake, cheesecake, carrot cake, birthday cake, wedding cake",
    "chair": "armchair, arm chair",
    "couch": "sofa, loveseat, love seat, sofa bed",
    "potted plant": "plant, house plant, houseplant, pot plant",
    "bed": "bunk bed",
    "dining table": "table, dining room table, dinner table, kitchen table",
    "toilet": "toilet bowl, toilet seat",
    "tv": "television, television set, tv set, flat screen tv, monitor, computer monitor",
    "laptop": "laptop computer, macbook",
    "mouse": "computer mouse",
    "remote": "remote control, wii remote, wiimote",
    "keyboard": "computer keyboard",
    "cell phone": "cellphone, phone, mobile phone, smartphone, smart phone, iphone, flip phone",
    "microwave": "microwave oven",
    "oven": "stove, pizza oven, stove top oven",
    "toaster": "",
    "sink": "",
    "refrigerator": "fridge",
    "book": "",
    "clock": "",
    "vase": "",
    "scissors": "",
    "teddy bear": "teddy, stuffed bear, toy bear, stuffed teddy bear",
    "hair drier": "hairdrier, hair dryer, hairdryer, blow dryer, blow drier",
    "toothbrush": "tooth brush",
}

# Names that hold a category's word and are none of its things.
_NOTHING = """
    baby animal, baby blue, baby carriage, baby doll, baby food, baby grand, baby stroller, baby seat, snow
    man, iron man, man made, man hole, lady bug, cd player, dvd player, record player, music player, mp3
    player, cake batter, pancake batter, dream catcher, family room, passenger side, passenger seat, passenger
    door, passenger car, driver seat, crowd control, bike rack, bike lane, bike path, bike trail, bicycle
    rack, bicycle lane, bicycle path, exercise bike, quad bike, cable car, trolley car, street car, rail car,
    railroad car, railway car, subway car, freight car, box car, car seat, car park, car door, car window, car
    mirror, car lot, car show, car wash, side car, motorcycle helmet, motorcycle jacket, aircraft carrier, jet
    ski, jet stream, jet trail, jet way, jet bridge, plane ticket, bus stop, bus station, bus lane, bus depot,
    bus shelter, bus terminal, train station, train track, train yard, train platform, train depot, train
    bridge, train set, train crossing, train tunnel, train stop, bridal train, truck stop, boat dock, boat
    house, boat ramp, boat launch, gravy boat, banana boat, space ship, rocket ship, bird feeder, bird bath,
    bird house, bird cage, bird seed, bird nest, birds eye view, rubber duck, rubber ducky, duck tape, duck
    pond, duck face, cat food, cat bed, cat house, cat tree, cat toy, big cat, corn dog, prairie dog, dog bed,
    dog bowl, dog food, dog house, dog park, dog show, dog tag, dog toy, dog collar, dog sled, rocking horse,
    carousel horse, saw horse, sea horse, horse trailer, horse shoe, horse stable, lamb chop, cow boy, cow
    girl, cow print, cow skin, bull fighter, bull riding, bull pen, bulls eye, red bull, gummy bear, zebra
    crossing, zebra print, zebra stripe, zebra striped, zebra pattern, zebra skin, purse strap, luggage cart,
    luggage rack, luggage carousel, luggage area, luggage claim, tie dye, tie rack, rail tie, railroad tie,
    frisbee game, frisbee golf, frisbee player, frisbee team, frisbee tournament, ball cap, ball court, ball
    field, ball game, ball gown, ball park, ball room, ball pit, disco ball, meat ball, cheese ball, snow
    ball, crystal ball, yarn ball, ball of yarn, ball of string, pool ball, kite board, kite boarding, kite
    surfing, kite festival, kite shop, at bat, oven mitt, skateboard park, skateboard ramp, skateboard trick,
    skateboard competition, skateboard course, snowboard park, snowboard ramp, snowboard trick, badminton
    racket, racket ball, bottle opener, bottle cap, hot water bottle, cup holder, world cup, suction cup,
    pitch fork, fork lift, fork in the road, knife block, knife holder, super bowl, fish bowl, bowl cut, half
    pipe bowl, skate bowl, skating bowl, banana bread, banana split, banana pudding, banana tree, banana leaf,
    banana peel, apple computer, apple laptop, apple logo, apple mouse, apple keyboard, apple monitor, apple
    pie, apple juice, apple cider, apple sauce, apple tree, apple tv, apple store, apple product, apple
    iphone, big apple, burger king, sandwich shop, hot dog stand, hot dog cart, hot dog bun, pizza box, pizza
    cutter, pizza pan, pizza hut, pizza place, pizza shop, pizza parlor, pizza restaurant, pizza sauce, pizza
    dough, pizza crust, donut shop, donut box, donut hole, doughnut shop, doughnut hole, cake mix, cake pan,
    cake plate, cake stand, cake knife, cake shop, crab cake, rice cake, chair lift, ski lift chair, wheel
    chair, power plant, plant pot, plant stand, plant life, flower bed, truck bed, pet bed, bed of, bed
    spread, bed frame, bed sheet, bed room, bed side table, coffee table, end table, side table, pool table,
    table tennis, table cloth, table top, table lamp, table runner, changing table, operating table, ping pong
    table, toilet brush, toilet paper, toilet paper roll, toilet tissue, toilet tank, toilet lid, toilet
    stall, toilet cleaner, tv dinner, tv stand, tv show, tv station, tv remote control, television show,
    television stand, lap top case, laptop case, laptop bag, mouse pad, mousepad, mouse trap, mickey mouse,
    minnie mouse, remote control car, remote control plane, remote control airplane, remote control
    helicopter, remote control boat, remote control toy, keyboard player, piano keyboard, phone booth, pay
    phone, phone case, phone number, phone line, phone pole, microwave stand, toaster oven, oven door, stove
    hood, stove top, sink hole, refrigerator door, refrigerator magnet, fridge door, fridge magnet, book bag,
    book case, book shelf, book store, book stand, book end, check book, clock radio, clock shop, teddy
    roosevelt, toothbrush holder
"""
_IRREGULAR = {"man": "men", "woman": "women", "child": "children", "goose": "geese", "mouse": "mice"}
_IRREGULAR |= {"ox": "oxen", "calf": "calves", "knife": "knives", "bus": "buses", "leaf": "leaves"}
_ALSO_PLURAL = {"bus": ("busses",), "person": ("persons",), "scissors": ("scissor",)}
_NO_PLURAL = set(
    """
    people individuals someone somebody audience sheep cattle aircraft luggage broccoli brocolli
    brocoli broccolli skis scissors macbook striped king riding boarding surfing golf roosevelt
    """.split()
)

_ANIMALS = {"bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"}
_OF_ANIMALS = set("baby babies infant adult adults mother mothers father parent parents family".split())
_LIKENESS_BEFORE = {"toy", "stuffed", "plush", "fake", "inflatable", "ceramic", "origami", "cartoon", "lego"}
_LIKENESS_AFTER = set(
    """
    statue statues sculpture sculptures figurine figurines balloon balloons costume costumes mask
    logo shaped themed painting drawing sign toy toys doll dolls magnet magnets
    """.split()
)
_LIKENESS_OF = _LIKENESS_AFTER | {"poster", "mural", "portrait", "carving", "cutout", "paintings", "drawings"}
_ARTICLES = set("a an the one two three some his her their this that another its".split())

_VERBS = set(
    """
    tie ties train trains skis snowboard snowboards skateboard skateboards bat bats bear bears book
    books fork forks sink sinks bowl bowls cup duck ducks groom grooms parent ram rams plant plants
    phone phones bottle boat boats ship ships mouse table tables bus crowd bike bikes
    """.split()
)
_BEFORE_A_VERB = {"to", "he", "she", "it", "they", "who", "can", "will", "someone"}

# Rarely the thing, and never before what they could describe.
_DESCRIBING = {"orange", "remote"}
_AFTER_A_THING = set(
    """
    on in is with sitting sits that which next cut sliced being at to near beside hanging from for
    laying lying resting while up by are inside into under against as
    """.split()
)
_BEFORE_A_THING = _ARTICLES | set(
    """
    peeled sliced cut half whole ripe fresh single wii game of tv video television black white small
    large
    """.split()
)
_OF_MANY = {"couple", "couples", "family", "families", "crowd", "crowds"}
_BICYCLES = {"bike", "bikes"}


def find_objects(words: Sequence[str]) -> list[ObjectMention]:
    """Return the objects that a caption names, in order.

    ``words`` are in lower case, without punctuation but inner hyphens and apostrophes.
    """
    plain = [word.replace("-", "") for word in words]
    mentions: list[ObjectMention] = []
    start = 0
    while start < len(plain):
        length = next((size for size in _SIZES if start + size <= len(plain) and _key(plain, start, size) in _TABLE), 1)
        category = _TABLE.get(_key(plain, start, length))
        mention = ObjectMention(category or "", start, start + length)
        if category is not None and _is_meant(plain, mention, mentions):
            mentions.append(mention)
        start += length
    categories = {mention.category for mention in mentions}
    unsure: set[str] = set()
    if "motorcycle" in categories:
        unsure |= _BICYCLES
    if categories & _ANIMALS:
        unsure |= _OF_ANIMALS
    return [mention for mention in mentions if plain[mention.start] not in unsure]


def _is_meant(words: Sequence[str], mention: ObjectMention, earlier: Sequence[ObjectMention]) -> bool:
    """Return whether the words around the mention allow this reading of its own."""
    before, after = words[: mention.start], words[mention.stop :]
    last, following = (before[-1] if before else ""), (after[0] if after else "")
    word = " ".join(words[mention.start : mention.stop])
    category = mention.category
    if word in _OF_MANY and following == "of":
        return False
    if category != "teddy bear" and last in _LIKENESS_BEFORE:
        return False
    if following in _LIKENESS_AFTER:
        return False
    while before and before[-1] in _ARTICLES:
        before = before[:-1]
    if before[-1:] == ["of"] and len(before) > 1 and before[-2] in _LIKENESS_OF:
        return False
    if word in _VERBS:
        by_person = bool(earlier) and earlier[-1].category == "person" and earlier[-1].stop == mention.start
        if by_person or last in _BEFORE_A_VERB:
            return False
    if word in _DESCRIBING:
        joined = following in ("and", "or") and len(after) > 1 and after[1] in _ARTICLES
        return last in _BEFORE_A_THING and (not following or following in _AFTER_A_THING or joined)
    return True


def _key(words: Sequence[str], start: int, length: int) -> tuple[str, ...]:
    return tuple(words[start : start + length])


def _with_plurals(name: str) -> list[str]:
    """Return the name, and the name with its last word in the plural."""
    *rest, last = name.split()
    if last in _NO_PLURAL:
        plurals: tuple[str, ...] = ()
    elif last in _IRREGULAR:
        plurals = (_IRREGULAR[last],)
    elif last.endswith("man"):
        plurals = (last[:-3] + "men",)
    elif last.endswith(("s", "x", "z", "ch", "sh")):
        plurals = (last + "es",)
    elif last.endswith("y") and last[-2] not in "aeiou":
        plurals = (last[:-1] + "ies",)
    else:
        plurals = (last + "s",)
    return [" ".join([*rest, form]) for form in (last, *plurals, *_ALSO_PLURAL.get(last, ()))]


def _table() -> dict[tuple[str, ...], str | None]:
    """Map every known name, as a tuple of its words, to its category, and names that only sound like one to None."""
    table: dict[tuple[str, ...], str | None] = {}
    for category in CATEGORIES:
        for name in (category, *_split(_NAMES[category])):
            table |= {tuple(form.replace("-", "").split()): category for form in _with_plurals(name)}
    of_several = "glasses of wine", "glasses of red wine", "glasses of white wine"
    table |= {tuple(name.split()): "wine glass" for name in of_several}
    for name in _split(_NOTHING):
        table |= {tuple(form.split()): None for form in _with_plurals(name)}
    return table


def _split(names: str) -> list[str]:
    return [stripped for name in names.split(",") if (stripped := " ".join(name.split()))]


_TABLE = _table()
# Longer names go before shorter ones.
_SIZES = range(max(map(len, _TABLE)), 0, -1)
