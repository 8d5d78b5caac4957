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


GIRL_NAMES = _words("""
    Lily Mia Anna Ella Rosie Daisy Sophie Lucy Emma Nora Ruby Molly Zoe Clara Ivy Maya Lena Nina Tessa Bella
    Amy Grace Hazel Poppy Luna Stella Ada Mila Olive Penny Holly Jane Kate Sara Eva Alma Greta Ida Willa
    Wendy Pearl Fern Dora Tilly Gemma Leah Rosa Yuki Priya Amina Freya Heidi Juno Kira Lotte Mabel Nelly
    Polly Robin Sunny Tara
""")

BOY_NAMES = _words("""
    Tom Ben Max Sam Leo Jack Finn Tim Oliver Noah Jacob Henry Theo Hugo Felix Oscar Milo Toby Peter Paul
    Adam Dan Luke Eli Owen Ned Otto Emil Anton Arlo Bruno Carl David Ethan Fred George Harry Ivan Jonah Kai
    Liam Mark Nico Omar Pip Ravi Simon Tariq Victor Walter Yusuf Zack Archie Barney Caleb Diego Edgar Frank
    Gus Jasper Kenji Rusty
""")

# Made-up names are put together from these, so that the model has to copy a name and cannot just recall it.
NAME_STARTS = _words(
    "Ba Bo Da Di Fi Fa Go Ka Ki La Lo Ma Mi Mo Na No Pa Pi Po Ra Ri Ro Sa So Ta Ti To Tu Va Wi Za Zi"
)
NAME_MIDDLES = _words("b bb d dd k l ll m mm n nn p pp r rr s t tt v x z nd mb lm nk")
GIRL_ENDS = _words("a ia ina ela i y")
BOY_ENDS = _words("o in el us or ek")
# Chance also makes names that no story for children should have.
AVOIDED_NAMES = frozenset(
    _words("Nazi Paki Sambo Titty Tity Fanny Mammy Randy Dili Loli Fatty Many Body Pity Kaka")
)

PEOPLE = {
    "girl": ["girl", "girl", "girl", "girl", "princess", "fairy", "witch", "queen", "giant"],
    "boy": ["boy", "boy", "boy", "boy", "prince", "wizard", "king", "knight", "giant", "farmer"],
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
            "a [small|big|sunny] farm [by the river|near the village|in the valley]",
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
            f"[{_HOUSE}|a [big|small|old] farm [by the river|near the village]]",
            "ran|trotted|raced",
            "dig swim smell",
        ),
        Kind(
            "puppy",
            f"[{_HOUSE}|a [big|small|old] farm [by the river|near the village]]",
            "ran|trotted",
            "dig smell",
        ),
        Kind(
            "kitten",
            f"[{_HOUSE}|a [big|red|old] barn [on a farm|near the village]]",
            "ran|padded",
            "climb squeeze",
        ),
        Kind("owl", f"a [tall|hollow|old] tree [in the {_FOREST}|on a hill|by the lake]", "flew", "fly"),
        Kind("bird", f"a [soft|small|round] nest [in a tall tree|in the {_FOREST}|on a roof]", "flew", "fly"),
        Kind("crow", f"a [big|messy|high] nest [in a tall tree|in the {_FOREST}|on a roof]", "flew", "fly"),
        Kind("goose", "a [big|small|red] barn [on a farm|by the lake]", "waddled|flew", "fly swim"),
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
        Kind("giraffe", "a [warm|wide|green] valley [with tall trees|by a river]", "walked|ran", "reach"),
        Kind(
            "horse",
            "a [big|red|sunny] farm [by the river|near the village|in the valley]",
            "ran|trotted|galloped",
            "strong reach",
        ),
        Kind("pig", "a [small|sunny|muddy] farm [by the river|near the village]", "ran|trotted", "dig smell"),
        Kind(
            "goat", "a [small|green|steep] mountain [near the village|above the lake]", "ran|jumped", "climb"
        ),
        Kind(
            "hedgehog",
            "a [cozy|little|snug] nest [under a bush|in the garden|under a pile of leaves]",
            "walked|hurried",
            "smell squeeze",
        ),
        Kind(
            "mole",
            "a [long|warm|snug] tunnel [under the meadow|under the garden|under a hill]",
            "crawled|hurried",
            "dig",
        ),
        Kind(
            "beaver", "a [round|wooden|strong] lodge [in the river|on the lake]", "swam|walked", "swim strong"
        ),
        Kind("otter", "a [snug|little|muddy] den [by the river|near the lake]", "swam|ran", "swim"),
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
            "unicorn",
            "a [quiet|secret|green] meadow [in the forest|behind the hills]",
            "galloped|trotted|ran",
            "strong",
        ),
        Kind(
            "robot",
            "a [busy|dusty|bright] workshop [at the edge of town|behind a toy store|near a school]",
            "rolled|walked",
            "strong reach",
        ),
        Kind(
            "monster",
            "a [dark|round|funny] cave [under a hill|in the hills|near the village]",
            "walked|stomped",
            "strong reach",
        ),
    ]
}

CREATURES = [name for name in KINDS if name not in {*PEOPLE["girl"], *PEOPLE["boy"]}]

TRAITS = _words("""
    little little little little small young tiny kind brave shy clever curious cheerful gentle funny quiet
    lively friendly happy playful busy lonely dreamy proud
""")

OLD_TRAITS = _words("old wise kind gray gentle big tall")


# What a kind has for a hand and a foot; kinds not listed have hands and feet.
LIMBS = {
    "paw": _words("fox rabbit bear mouse cat dog puppy kitten squirrel lion hedgehog mole beaver otter"),
    "wing": _words("duck owl bird crow goose"),
    "hoof": _words("horse pig goat sheep unicorn giraffe"),
}


class Place(NamedTuple):
    """A place outdoors, with the words that lead to it."""

    place: str
    at: str


PLACES = [
    Place("the forest", "in the forest"),
    Place("the woods", "in the woods"),
    Place("the meadow", "in the meadow"),
    Place("the park", "in the park"),
    Place("the garden", "in the garden"),
    Place("the beach", "on the beach"),
    Place("the hill", "on the hill"),
    Place("the river", "by the river"),
    Place("the lake", "by the lake"),
    Place("the pond", "by the pond"),
    Place("the old bridge", "near the old bridge"),
    Place("the mill", "behind the mill"),
    Place("the market", "at the market"),
    Place("the village square", "in the village square"),
    Place("the orchard", "in the orchard"),
    Place("the field", "in the field"),
    Place("the waterfall", "near the waterfall"),
    Place("the barn", "behind the barn"),
    Place("the valley", "in the valley"),
]


class Things(NamedTuple):
    """Things of one sort and the adjectives that go with every one of them."""

    adjectives: list[str]
    nouns: list[str]


HARD = Things(
    _words("red blue green yellow shiny wooden golden silver old tiny round pretty orange purple white"),
    _words(
        "ball,drum,bell,lantern,basket,spoon,key,whistle,cup,button,marble,shell,ring,flute,horn,coin,box,"
        "mirror,wagon,sled,boat,toy car,toy train,bucket,clock,lamp,crown,music box,necklace,stone,trumpet,"
        "pencil,plate",
        separator=",",
    ),
)
SOFT = Things(
    _words("red blue green yellow soft striped warm old woolly pretty pink purple white orange fluffy"),
    _words(
        "kite,hat,scarf,blanket,ribbon,mitten,pillow,coat,sweater,sock,flag,cape,teddy bear,doll,bag,"
        "feather,umbrella,cap,book,purse",
        separator=",",
    ),
)

# The hero's family, and the pronouns each of them takes.
PARENTS = {
    "mother": "girl",
    "mom": "girl",
    "grandmother": "girl",
    "grandma": "girl",
    "aunt": "girl",
    "big sister": "girl",
    "father": "boy",
    "dad": "boy",
    "grandfather": "boy",
    "grandpa": "boy",
    "uncle": "boy",
    "big brother": "boy",
}

SLOTS = {
    "fruit": "[apples|pears|plums|cherries|berries|peaches|nuts|strawberries|carrots|grapes]",
    "snack": (
        "[some bread and cheese|two red apples|a piece of cake|a bag of nuts|some sweet berries|a warm bun|"
        "three cookies|a big sandwich|a slice of pie|some honey bread|a bowl of soup|a ripe pear|"
        "a jar of honey|a pancake|a handful of cherries]"
    ),
    "treat": (
        "[apple|cherry|honey|carrot|lemon|berry|plum|chocolate|nut|pumpkin] [cake|pie|bread|cookies|soup|"
        "muffins|pudding]"
    ),
    "game": "[hide and seek|tag|catch|pirates|hopscotch|kings and queens|leapfrog|explorers]",
    "hobby": (
        "[sing|dance|draw|read|paint|swim|climb|run|play outside|look at the stars|tell stories|pick flowers|"
        "collect stones|play the drum|watch the clouds|build towers|make funny faces|sing to the birds|"
        "count the stars|help others|splash in puddles|jump over logs|ask questions|make things|"
        "look for shells|play hide and seek|roll down the hill|whistle|play tricks|sit in the sun]"
    ),
    "trait": "[kind|brave|clever|curious|cheerful|gentle|funny|friendly|happy|playful]",
    "wear": "[shoes|boots|glasses|gloves|socks]",
    "wishes": (
        "[see the sea|fly like a bird|find a true friend|climb the highest hill|learn to sing|touch a cloud|"
        "see the snow|ride on a boat|have a garden|go on an adventure|hear a new story|"
        "see a rainbow up close]"
    ),
    "flower": "[sunflower|rose|tulip|daisy|poppy|lily|pumpkin|bean plant|strawberry plant|apple tree]",
    "color": "[red|blue|green|yellow|pink|purple|orange|white|golden]",
    "cake": "[cake|cherry cake|chocolate cake|birthday cake|apple pie|berry pie]",
    "pet": "[fish|hens|goats|cats|birds]",
    "soft": "[soft|warm|woolly|thick]",
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
        "There were {color3} flowers everywhere.|It was not too warm and not too cold.|"
        "{H} hummed a little song.|{H} felt happy and free.|{H} was wearing {his} {color2} {wear}.]"
    ),
    "open_named": (
        "[Once upon a time, there was a {described} named {h}. {He} lived in {home}.|"
        "Once upon a time, there was a {described} named {h} who lived in {home}.|"
        "Once upon a time, a {described} named {h} lived in {home}.|"
        "Once upon a time, in {home}, there lived a {described} named {h}.|"
        "Once upon a time, there lived a {described}. {His} name was {h}. {He} lived in {home}.|"
        "Once upon a time, {h} the {kind} lived in {home}.|"
        "Once upon a time, there was a {kind} named {h}. {H} was very {trait}.|"
        "Once upon a time, in a land far away, there was a {described} named {h}.|"
        "Once upon a time, there was a {described}. Everyone called {him} {h}.|"
        "Once upon a time, {h} was a {described} who lived in {home} with {his} {mom}.|"
        "There once was a {described} named {h}. {He} lived in {home}.|"
        "There was a {described} named {h} who lived in {home}.|"
        "Long ago, in {home}, there lived a {described} named {h}.|"
        "Long, long ago, a {described} named {h} lived in {home}.|In {home} lived a {described} named {h}.|"
        "In {home}, there was a {described} named {h}.|{H} was a {described} who lived in {home}.|"
        "{H} was a {described}. {He} lived in {home}.|{H} the {kind} lived in {home}.|"
        "{H} the {kind} was {trait}. {He} lived in {home}.|This is the story of {h}, a {described}.|"
        "The {described} was named {h}. {He} lived in {home}.|A {described} named {h} lived in {home}.|"
        "A {kind} named {h} lived in {home} with {his} {mom}.|"
        "Far away, in {home}, there lived a {described} named {h}.|Once there was a {described} named {h}.|"
        "One day, a {described} named {h} woke up early.|One morning, {h} the {kind} looked out of {his} "
        "home. The sun was shining.|My friend {h} is a {described}. This is {his} story.]"
    ),
    "open_nameless": (
        "[Once upon a time, there was a {described}. {He} lived in {home}.|"
        "Once upon a time, there was a {described} who lived in {home}.|"
        "Once upon a time, a {described} lived in {home}.|Once upon a time, in {home}, there lived a "
        "{described}.|There once was a {described}. {He} lived in {home}.|The {described} lived in {home}.|"
        "The {described} lived in {home} with {his} {mom}.|A {described} lived in {home}.|"
        "Long ago, in {home}, there lived a {described}.|In {home} lived a {described}.|"
        "Far away, in {home}, there was a {described}.|One day, a {described} woke up early.]"
    ),
    "open_pair": (
        "[Once upon a time, there were two friends, {h} the {kind} and {f} the {f.kind}.|"
        "Once upon a time, {h} and {f} were best friends. {H} was a {described}, and {f} was a "
        "{f.described}.|{H} and {f} were best friends. {H} was a {described}, and {f} was a {f.described}.|"
        "{H} and {f} were friends. {H} lived in {home}, and {f} lived in {f.home}.|"
        "Once upon a time, a {kind} named {h} had a good friend. It was {f.a}.|"
        "There were once two friends. One was {h} the {kind}, and the other was {f} the {f.kind}.|"
        "{H} the {kind} and {f} the {f.kind} did everything together.]"
    ),
    "detail": (
        "[{He} liked to {hobby}.|{He} loved to {hobby}.|Every day, {he} liked to {hobby}.|"
        "{He} liked to {hobby} and to {hobby2}.|More than anything, {he} loved to {hobby}.|"
        "{He} lived there with {his} {mom}.|{H} dreamed that one day {he} would {wishes}.|"
        "Everyone liked {him}, because {he} was so {trait2}.|{His} favorite food was {treat}.|"
        "In the morning {he} liked to {hobby}, and in the evening {he} liked to {hobby2}.|"
        "{H} was very {trait2}, too.|No one could {hobby} as well as {h}.|{He} had {color2} {wear}.]"
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
