"""The vocabulary of the generated texts: plain English words by kind, written down by hand."""


def split(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


ANIMALS = split("""
ant badger bat bear bee bird bull calf camel cat chicken cow crab crow deer dog dolphin donkey duck eagle
elephant falcon fish fox frog goat goose hamster hare hawk hen horse kitten lamb lion lizard monkey moose
mouse mule owl ox panda parrot penguin pig pigeon pony puppy rabbit rat raven salmon seal shark sheep snail
snake sparrow spider squirrel swan tiger toad trout turkey turtle whale wolf worm zebra
""")

FOODS = split("""
apple apricot bacon banana bean beef berry biscuit bread broth butter cabbage cake candy carrot cheese cherry
chocolate cookie corn cream cucumber curry egg fig garlic ginger grape ham honey jam juice lemon lentil
lettuce lime mango melon milk mint mushroom noodle nut oat olive onion orange pancake pasta pea peach pear
pepper pickle pie pizza plum porridge potato pudding pumpkin radish raisin rice salad salt sandwich sauce
sausage soup spinach steak stew sugar syrup tea toast tomato tuna vanilla walnut water wheat yogurt coffee
""")

THINGS = split("""
anchor axe bag ball balloon basket battery bed bell belt bench bicycle blanket boat book boot bottle bowl box
bracelet brick bridge broom brush bucket bus button cable calendar camera candle card carpet cart chain chair
chalk clock coat coin comb computer cord couch cup curtain cushion desk dish door drawer dress drill drum
engine envelope fan feather fence flag flute fork frame glass glove guitar hammer handle hat helmet hook
jacket jar kettle key keyboard kite knife ladder lamp laptop letter lock lorry magnet map mask mat medal
microphone mirror monitor mop motor mug nail napkin necklace needle net newspaper notebook oven package paddle
page paint pan paper pen pencil phone photo piano picture pillow pin pipe plate plug pocket poster pot printer
purse puzzle radio rake ring robot rocket rope rug ruler saddle sail saw scarf scissors screen screw shelf
shirt shoe shovel sink skirt soap sock sofa spade speaker sponge spoon stamp stool stove string suitcase swing
table tablet tape tent thread ticket tie tile tool torch towel toy train tray truck trumpet tube umbrella vase
violin wallet watch wheel whistle window wire wrench
""")

PLACES = split("""
airport attic bakery bank barn basement beach cafe camp canal castle cave cellar church cinema city cliff
clinic college corner cottage court desert factory farm field forest garage garden gate hall harbour hill
hospital hotel house island kitchen lake library market meadow mill mine mountain museum office palace park
path pond pool port prison restaurant river road roof room school shop shore square stable stadium station
store street studio temple theatre tower town tunnel valley village wall warehouse well yard zoo
""")

JOBS = split("""
actor artist baker barber builder butcher captain carpenter chef clerk coach cook dancer dentist director
doctor driver editor engineer farmer firefighter fisher gardener guard guide hunter judge lawyer librarian
manager mechanic miner musician nurse painter pilot plumber poet porter potter priest professor sailor
secretary singer soldier student tailor teacher trader waiter weaver writer
""")

GOOD = split("""
able amazing beautiful best better brave bright brilliant calm careful charming cheerful clean clear clever
comfortable correct delicious delightful easy elegant excellent exciting fair fantastic fine fresh friendly
fun generous gentle glad good grateful great handy happy healthy helpful honest impressive interesting kind
lovely lucky neat nice perfect pleasant pleased polite pretty proud quick quiet reliable rich safe smart
smooth solid splendid strong super superb sweet tasty terrific thankful tidy useful warm wise wonderful worth
""")

BAD = split("""
afraid angry annoying awful bad bitter bored boring broken careless cheap clumsy confusing cruel damaged
dangerous dark dead defective difficult dirty disappointed disappointing dull dusty empty evil expensive
faulty foolish greedy gross hard horrible hungry hurt ill jealous late lazy lonely lost loud mean messy
miserable missing nasty noisy old painful poor rotten rough rude sad scary selfish sick silly slow smelly
sorry sour stale stupid terrible thin tired ugly unfair unhappy unpleasant upset useless weak weird worn worse
worst wrong
""")

OTHER_ADJECTIVES = split("""
big black blue brown curly deep double dry early extra first flat free full gold golden green grey half heavy
high hot huge large last left light little local long low main many modern narrow near new next normal open
orange other pale pink plain public purple real red right round second short silver simple single slim small
soft special steep straight tall thick third tiny usual wet white whole wide wild wooden yellow young
""")

VERBS = split("""
accept add agree allow answer arrive ask bake become begin believe bring build buy call cancel carry catch
change charge check choose clean climb close collect come confirm cook copy count cover create cross cry cut
dance decide deliver describe draw dream drink drive drop eat enjoy enter explain fail fall feel fetch fill
find finish fix fly fold follow forget gather get give go grow guess happen hate have hear help hide hit hold
hope hurry invite join jump keep kick know laugh lead learn leave lend let lift like listen live load look
lose love make meet mend mix move need notice offer open order own pack paint pass pay pick place plan plant
play point prefer press print pull push put reach read receive refund remember remove repair repeat reply
report rest return ride ring rise run save say search see sell send set shake share show shut sing sit sleep
smell smile speak spend stand start stay steal stop study swim take talk taste teach tell test thank think
throw touch track translate travel try turn type understand update use visit wait wake walk want warn wash
watch wear win wish work worry write
""")

PAST_VERBS = split("""
added asked baked bought brought built called carried caught cleaned climbed closed cooked counted dropped
dropped found followed forgot gave got heard held helped hid kept kicked left liked lost loved made met moved
needed opened ordered packed painted paid picked planted played pulled pushed put ran read received repaired
said sang sat saw sent sold stole stopped took threw tried visited wanted washed watched went wrote
""")

ADVERBS = split("""
again almost already also always away badly carefully certainly clearly early easily even ever everywhere
finally here just later maybe more most much never now often once only perhaps probably quickly quietly quite
rarely really slowly sometimes soon still suddenly there today together tomorrow tonight too twice usually
very well yesterday yet
""")

FUNCTION_WORDS = split("""
a about above across after against all along an and another any anybody anything around as at be because been
before behind being below beside between both but by can cannot could did do does done down during each either
else enough every everybody everything few for from had has have he her hers him his how if in inside instead
into is it its itself least less me might mine must my near neither no nobody none not nothing of off on one
or our ours out outside over own please same several shall she should since so some somebody something such
than that the their them then these they this those through till to toward under until up upon us was we were
what when where whether which while who whose why will with within without would yes you your yours
""")

TOPIC_WORDS = split("""
account address agent amount app balance bill block booking branch brand bug cancellation card case category
cause chance charge chat class client code colour comment company complaint contact contract cost country
coupon courier customer damage data date day deal delivery deposit design device discount doctor document
email error event exchange fact fee feedback file film flight form friend game gift goods group guest guide
help holiday hour idea image info insurance internet invoice item job kind label language law lesson line link
list loan location login mail meal meeting member message method minute model money month morning movie music
name network news night note number offer option order owner part party password payment people person place
plan point policy position post price problem product profile project purchase purpose quality question rate
reason receipt record refund report request result return review sale sample seat section sender service
session shape shipping side sign signal site size software song sort sound source space speed sport staff
state status step story style subject subscription summary supplier support survey system task tax team term
test text thing time title topic total tour tracking trip type unit update user value version video view visit
voice vote warranty way weather web week weekend weight wifi word work world year zone
""")

FIRST_NAMES = split("""
Adam Ada Alan Alice Amir Amy Ana Anna Arthur Ben Bella Bruno Carla Carlos Chen Clara Daniel David Dina Elena
Eli Ella Emil Emma Eric Eva Felix Fiona Frank Grace Hana Hanna Hugo Ida Igor Irene Ivan Jack James Jane Jonas
Julia Karl Kate Kim Lara Laura Lena Leo Liam Lily Lina Louis Lucas Lucy Luis Maria Mark Marta Martin Mary Max
Maya Mia Mila Mina Nadia Nina Noah Nora Olga Oliver Omar Oscar Paul Pedro Peter Petra Rita Robert Rosa Ruth
Sam Sara Sofia Sonia Stefan Susan Tara Theo Thomas Tim Tom Vera Victor Wendy Will Yara Yusuf Zoe
""")

SURNAMES = split("""
Adams Alvarez Baker Bauer Becker Berg Bianchi Brown Carter Castro Clark Cohen Costa Cruz Davis Diaz Evans
Fischer Fisher Ford Garcia Gomez Gray Green Haas Hall Hansen Harris Hill Hughes Ito Jensen Johnson Jones
Keller King Klein Kovacs Kumar Lang Larsen Lee Lewis Lopez Martinez Meyer Miller Moore Mori Morris Murphy Nagy
Nelson Nguyen Novak Okafor Olsen Ortiz Parker Patel Perez Perry Petrov Popov Price Quinn Ramos Reed Reyes
Ricci Rivera Roberts Rossi Russo Santos Sato Schmidt Scott Silva Singh Smith Stone Suzuki Tanaka Taylor Torres
Turner Vargas Walker Wang Ward Watson Weber White Wilson Wolf Wong Wood Wright Young Zhang
""")

CITIES = split("""
Athens Baghdad Berlin Bern Bogota Boston Brussels Cairo Chicago Delhi Denver Dublin Geneva Hamburg Hanoi
Havana Helsinki Istanbul Jakarta Kiev Lagos Lima Lisbon London Madrid Manila Miami Milan Montreal Moscow
Munich Nairobi Naples Osaka Oslo Ottawa Paris Porto Prague Rome Seattle Seoul Sofia Stockholm Sydney Tokyo
Toronto Tunis Turin Venice Vienna Warsaw Zurich
""")

MONTHS = split("January February March April May June July August September October November December")
DAYS = split("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
NUMBER_WORDS = split("""
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty
""")

NOUNS = ANIMALS + FOODS + THINGS + PLACES + JOBS
ADJECTIVES = GOOD + BAD + OTHER_ADJECTIVES
COMMON_WORDS = sorted(
    {*NOUNS, *ADJECTIVES, *VERBS, *PAST_VERBS, *ADVERBS, *FUNCTION_WORDS, *TOPIC_WORDS, *NUMBER_WORDS}
)
NAMES = FIRST_NAMES + SURNAMES + CITIES + MONTHS + DAYS
