"""Word lists of the story writer: names, kinds of characters, places, things and small phrases.

Three sorts of entries exist:

- records (:data:`KINDS`, :data:`PLACES`, ...) hold facts that belong together, such as where a fox lives;
- :data:`SLOTS` are drawn once for a story and stay the same to its end;
- :data:`RULES` are drawn anew at every use.
"""

from typing import NamedTuple


def _words(text: str, separator: str | None = None) -> list[str]:
    """Return the words of a text, or its parts between the separators."""
    return text.split(separator)


class Kind(NamedTuple):
    """A kind of character: what it is called, where it lives, how it moves and what it can do."""

    name: str
    homes: str
    moves: str
    skills: str = ""


# Every name, kind, thing and family word is one piece of the tokenizer, so that keeping to it means copying
# one token. Girls' and boys' names are apart, and none of them is also a common word.
GIRL_NAMES = _words("""
    Lily Mia Anna Ella Rosie Sophie Lucy Emma Nora Ruby Molly Zoe Clara Maya Lena Nina Tessa Bella Amy Luna
    Kate Greta Wendy Polly
""")

BOY_NAMES = _words("""
    Tom Ben Max Sam Leo Jack Finn Tim Oliver Noah Jacob Henry Theo Hugo Felix Oscar Milo Toby Peter Paul Adam
    Luke Otto Simon
""")

NAMES = {"girl": GIRL_NAMES, "boy": BOY_NAMES}

PEOPLE = {
    "girl": _words("girl girl girl girl princess queen fairy witch"),
    "boy": _words("boy boy boy boy prince king wizard knight farmer"),
}

_HOUSE = (
    "a [small|little|yellow|white|cozy|red|blue|green|pretty] house [by the sea|near the forest|at the edge "
    "of town|on a hill|by the river|next to a big garden|on a quiet street|near the lake|in the valley]"
)
_VILLAGE = (
    "a [small|little|quiet|sunny|busy] [village|town] [by the sea|near the forest|by the river|"
    "at the foot of a mountain|between two hills|by a lake|full of flowers|with a tall clock tower]"
)
_FOREST = "[forest|woods|green wood|old forest|big forest]"

KINDS = {
    kind.name: kind
    for kind in [
        Kind("girl", f"[{_HOUSE}|{_VILLAGE}]", "ran|walked|skipped|hurried"),
        Kind("boy", f"[{_HOUSE}|{_VILLAGE}]", "ran|walked|raced|hurried"),
        Kind(
            "princess",
            "a [tall|white|big|old|golden] castle [on a hill|by the sea|near the forest|by a lake]",
            "ran|walked|skipped|hurried",
        ),
        Kind(
            "prince",
            "a [tall|white|big|old|stone] castle [on a hill|by the sea|near the forest|by a lake]",
            "ran|walked|raced|hurried",
        ),
        Kind("queen", "a [tall|white|big|old] castle [on a hill|by the sea|near a town]", "walked|hurried"),
        Kind("king", "a [tall|white|big|old] castle [on a hill|by the sea|near a town]", "walked|hurried"),
        Kind(
            "fairy",
            "a [tiny|little] house [under a mushroom|in a hollow tree|among the flowers]",
            "flew|fluttered",
            "fly",
        ),
        Kind(
            "witch",
            "a [crooked|small|purple] house [in the woods|on a hill|near the swamp]",
            "flew|walked",
            "fly",
        ),
        Kind("wizard", "a [tall|round|crooked] tower [in the woods|on a hill|by the sea]", "walked|hurried"),
        Kind("knight", "a [small|big|stone] castle [on a hill|near the forest]", "walked|marched", "strong"),
        Kind(
            "giant",
            "a [huge|big] [cave|house] [in the mountains|on a hill|behind the hills]",
            "walked|stomped",
            "strong reach",
        ),
        Kind(
            "farmer",
            "a [small|sunny] house [by the river|near the village|in the valley]",
            "walked|hurried",
            "strong dig",
        ),
        Kind(
            "fox",
            f"a [cozy|warm|snug|deep] den [under an old oak tree|in the {_FOREST}|on a hill]",
            "ran|trotted|raced",
            "dig",
        ),
        Kind(
            "rabbit",
            f"a [cozy|warm|snug|little] burrow [under a hill|in the {_FOREST}|in a green meadow]",
            "hopped|ran",
            "dig",
        ),
        Kind(
            "bear",
            f"a [warm|dark|big|snug] cave [in the {_FOREST}|on a mountain|near the river]",
            "ran|walked",
            "strong climb swim",
        ),
        Kind(
            "duck",
            "a [soft|small|cozy] nest [by the pond|by the lake|near the river]",
            "waddled|paddled",
            "swim fly",
        ),
        Kind(
            "frog",
            "a [quiet|little|green] pond [in the woods|behind a farm|near the meadow]",
            "hopped|jumped",
            "swim",
        ),
        Kind(
            "mouse",
            "a [tiny|little|snug] hole [under the stairs|in a barn|in the wall of a bakery|under a tree]",
            "ran|scurried",
            "squeeze",
        ),
        Kind(
            "cat",
            f"[{_HOUSE}|a [big|red|old] barn [on a farm|near the village]]",
            "ran|padded|raced",
            "climb squeeze",
        ),
        Kind(
            "dog",
            f"[{_HOUSE}|a [big|small|old] barn [by the river|near the village]]",
            "ran|trotted|raced",
            "dig swim smell",
        ),
        Kind("owl", f"a [tall|hollow|old] tree [in the {_FOREST}|on a hill|by the lake]", "flew", "fly"),
        Kind(
            "turtle",
            "a [quiet|little|blue] pond [in the woods|near the meadow|behind a farm]",
            "walked|crawled",
            "swim",
        ),
        Kind(
            "squirrel",
            f"a [hollow|tall|old] tree [in the {_FOREST}|in the park|on a hill]",
            "ran|raced",
            "climb",
        ),
        Kind(
            "monkey", "a [tall|big|leafy] tree [in the jungle|by a warm river]", "ran|swung|climbed", "climb"
        ),
        Kind(
            "elephant",
            "a [wide|green|warm] valley [near the jungle|by a river|with tall grass]",
            "walked|stomped",
            "strong reach",
        ),
        Kind("lion", "a [warm|wide|golden] valley [near the jungle|with tall grass]", "ran|walked", "strong"),
        Kind(
            "horse",
            "a [big|red|sunny] barn [by the river|near the village|in the valley]",
            "ran|trotted|galloped",
            "strong reach",
        ),
        Kind("pig", "a [small|sunny] barn [by the river|near the village]", "ran|trotted", "dig smell"),
        Kind("goat", "a [small|stone] hut [on a mountain|above the lake]", "ran|jumped", "climb"),
        Kind(
            "beaver", "a [round|wooden|strong] lodge [in the river|on the lake]", "swam|walked", "swim strong"
        ),
        Kind(
            "sheep", "a [green|sunny|wide] meadow [near the village|above the farm]", "ran|trotted", "strong"
        ),
        Kind(
            "dragon",
            "a [warm|deep|big|dark] cave [on a mountain|by the sea|behind a waterfall|in the hills]",
            "flew|stomped",
            "fly strong",
        ),
        Kind(
            "robot",
            "a [busy|dusty|bright] workshop [at the edge of town|behind a toy store|near a school]",
            "rolled|walked",
            "strong reach",
        ),
    ]
}

CREATURES = [name for name in KINDS if name not in {*PEOPLE["girl"], *PEOPLE["boy"]}]

TRAITS = _words("little little little small young kind brave shy clever curious cheerful gentle funny happy")

# What a kind has for a hand and a foot; kinds not listed have hands and feet.
LIMBS = {
    "paw": _words("fox rabbit bear mouse cat dog squirrel lion beaver"),
    "wing": _words("duck owl"),
    "hoof": _words("horse pig goat sheep"),
}


class Place(NamedTuple):
    """A place outdoors, with the words that lead to it."""

    place: str
    at: str


PLACES = [
    Place("the forest", "in the forest"),
    Place("the meadow", "in the meadow"),
    Place("the park", "in the park"),
    Place("the garden", "in the garden"),
    Place("the beach", "on the beach"),
    Place("the hill", "on the hill"),
    Place("the river", "by the river"),
    Place("the lake", "by the lake"),
    Place("the pond", "by the pond"),
    Place("the mill", "behind the mill"),
    Place("the market", "at the market"),
    Place("the barn", "behind the barn"),
]


# Every adjective goes with every thing.
ADJECTIVES = _words("red blue green yellow white purple orange pink tiny old pretty")
THINGS = _words("""
    ball drum bell hat scarf doll ring coat spoon flute sled umbrella
""")

# The hero's family, and the pronouns each of them takes.
PARENTS = {"mom": "girl", "grandma": "girl", "aunt": "girl", "dad": "boy", "grandpa": "boy", "uncle": "boy"}

FLOWERS = _words("sunflower rose tulip daisy poppy pumpkin")

SNACKS = _words(
    "some bread and cheese,two red apples,a piece of cake,a bag of nuts,some sweet berries,a warm "
    "bun,three cookies,a jar of honey",
    separator=",",
)
TREATS = _words(
    "apple pie,cherry cake,honey bread,carrot soup,berry pie,pumpkin soup",
    separator=",",
)

SLOTS = {
    "fruit": "[apples|pears|plums|cherries|berries|nuts|carrots|grapes]",
    "snack": f"[{'|'.join(SNACKS)}]",
    "treat": f"[{'|'.join(TREATS)}]",
    "game": "[hide and seek|tag|catch|pirates|hopscotch|leapfrog]",
    "hobby": (
        "[sing|dance|draw|read|paint|swim|climb|run|play outside|look at the stars|tell stories|pick flowers|"
        "collect stones|watch the clouds|count the stars|help others]"
    ),
    "wishes": (
        "[see the sea|fly like a bird|find a true friend|climb the highest hill|touch a cloud|see the snow|"
        "ride on a boat|go on an adventure]"
    ),
    "flower": f"[{'|'.join(FLOWERS)}]",
    "color": "[red|blue|green|yellow|pink|purple|orange|white|golden]",
    "cake": "[cake|birthday cake]",
    "pet": "[fish|hens|birds]",
    "soft": "[soft|warm|thick]",
    "letter": (
        "[The way was the treasure|A good friend is the best treasure|You came far and did not give up|"
        "Whoever reads this is brave|Now hide something for the next one|You found it, well done]"
    ),
}

RULES = {
    "scenery": (
        "[The sun was warm, and the birds were singing.|A soft wind moved the leaves.|"
        "The air smelled of [flowers|grass|rain|apples].|White clouds floated in the sky.|"
        "The grass was still wet.|Everything was quiet {at}.|A small bird was singing {at}.|"
        "There were flowers everywhere.|It was not too warm and not too cold.|"
        "{H} hummed a little song.|{H} felt happy and free.]"
    ),
    "open": (
        "[Once upon a time, there was a {trait} {kind} named {h}. {He} lived in {home}.|"
        "Once upon a time, there was a {trait} {kind} named {h} who lived in {home} with {his} {mom}.|"
        "Once upon a time, in {home}, there lived a {trait} {kind} named {h}.|"
        "Once upon a time, {h} the {kind} lived in {home} with {his} {mom}.|"
        "Once upon a time, there was a {kind} named {h}. {H} was very {trait}.|"
        "Once upon a time, in a land far away, there was a {trait} {kind} named {h}.|"
        "Once upon a time, {h} was a {trait} {kind} who lived with {his} {mom}.|"
        "There once was a {trait} {kind} named {h}. {He} lived in {home}.|"
        "Long ago, in {home}, there lived a {trait} {kind} named {h}.|In {home} lived a {kind} named {h}.|"
        "{H} was a {trait} {kind}. {He} lived in {home} with {his} {mom}.|{H} the {kind} lived in {home}.|"
        "The {trait} {kind} was named {h}. {He} lived in {home}.|"
        "A {trait} {kind} named {h} lived in {home} with {his} {mom}.|"
        "Once there was a {trait} {kind} named {h}. {He} lived with {his} {mom}.|"
        "One day, a {trait} {kind} named {h} woke up early.]"
    ),
    "open_pair": (
        "[Once upon a time, there were two friends, {h} the {kind} and {f} the {f.kind}.|"
        "Once upon a time, {h} and {f} were best friends. {H} was a {trait} {kind}, and {f} was a {f.kind}.|"
        "{H} and {f} were best friends. {H} was a {kind}, and {f} was a {f.kind}.|"
        "Once upon a time, a {kind} named {h} had a good friend. It was {f} the {f.kind}.]"
    ),
    "detail": (
        "[{He} liked to {hobby}.|{He} loved to {hobby}.|Every day, {he} liked to {hobby}.|"
        "More than anything, {he} loved to {hobby}.|{His} {mom} loved {him} very much.|"
        "{H} dreamed that one day {he} would {wishes}.|{His} favorite food was {fruit}.]"
    ),
    "day": (
        "[One|One|One|One [sunny|warm|bright|fine|windy|quiet|lovely|cool|gray|clear]] [day|day|morning|"
        "afternoon]"
    ),
    "later": (
        "[After a while|A little later|Soon|Then one morning|That afternoon|The next day|Not long after|"
        "That same day|Some days later]"
    ),
    "soon": "[Soon|After a while|In a little while|Before long|A moment later|At last|A few minutes later]",
    "happy": "[happy|glad|full of joy|very happy|so happy|proud and happy|pleased|very pleased|cheerful]",
    "sad": "[sad|very sad|upset|unhappy|worried|very worried|close to tears|so sad]",
    "smiled": "[smiled|smiled|laughed|grinned|nodded|clapped|beamed|smiled kindly|gave a big smile]",
    "nice": "[lovely|wonderful|nice|good|very good|splendid|great|perfect]",
    "kindly": "[kindly|softly|gently|warmly|with a smile|in a gentle voice|in a soft voice]",
    "said": "[said|said|said|answered|replied]",
    "thanks": "[Thank you|Thank you so much|Thank you very much|Oh, thank you|Thank you, thank you]",
    "bigfeel": (
        "[could not stop smiling|danced with joy|jumped up and down|laughed out loud|hugged {f}|"
        "felt warm inside|clapped and cheered|felt very lucky|had never been so happy|sang a happy song]"
    ),
    "crying": (
        "[sat down and cried|began to cry|felt a tear on {his} cheek|felt like crying|hung {his} head|sighed|"
        "sat down sadly|did not know what to do]"
    ),
    "together": "[together|side by side|all afternoon|until the sun went down|for a long time|all day]",
    "ending": (
        "[From that day on, {h} and {f} were best friends.|"
        "From then on, {h} and {f} played together every day.|And {h} and {f} stayed friends for ever.|"
        "{H} and {f} were friends from that day on.|After that, {h} was never lonely again.|"
        "That night, {h} fell asleep with a smile.|{H} went home with a happy heart.|"
        "That evening, {h} told {his} {mom} all about {f}.|"
        "When the stars came out, {h} and {f} said good night and went home.|And so the [day|long day|"
        "little adventure] ended well for {h} and {f}.|It was the best day {h} could remember.|"
        "And they all lived happily ever after.|{H} never forgot that day.|"
        "In the evening, {h} and {f} watched the sun go down together.|"
        "{H} thought about {f} and smiled all the way home.]"
    ),
    "soloend": (
        "[That night, {h} slept very well.|{H} went to bed with a smile.|{H} never forgot that day.|"
        "{H} was [proud|happy] and so was {his} {mom}.|That night, {h} dreamed [sweet|happy|lovely] dreams.|"
        "It was the best day {h} could remember.|And {h} lived happily ever after.|"
        "{H} hugged {his} {mom} and laughed.|From that day on, {h} was a little bit braver.|"
        "And when {h} was old, {he} still told this story.|Soon {h} was fast asleep.]"
    ),
}
