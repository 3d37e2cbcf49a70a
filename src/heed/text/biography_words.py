"""What invented people are called and said to do: names, cities, professions, employers, and sentences about them.

Names, cities and professions are everyday knowledge; the employers are made up. Cities and professions stand in the
order in which they are common: `biographies.py` draws the first ones more often.

A sentence is a format string. `{who}` is the person; every other field states an attribute:
`{place}` `{year}` `{a_profession}` `{employer}` `{home}`. `{country}` is that of the place, and states nothing.
"""

from __future__ import annotations


def _listed(text: str, mark: str | None = None) -> tuple[str, ...]:
    """Return the entries of a text, which stand between marks, or between spaces and line ends."""
    return tuple(entry.strip() for entry in text.split(mark))


GIVEN = _listed(
    """
    Ada Adam Agnes Ahmed Aisha Akira Alan Albert Aleksander Alice Alma Amara Amina Ana Anders Andrea Angela Anika Anton
    Arjun Arthur Astrid Audrey Aurora Ayumi Barbara Beatriz Ben Bernard Bianca Boris Brigitte Bruno Camille Carla Carlos
    Carmen Caroline Catherine Chidi Chiara Claire Clara Claude Clement Colin Cora Cyril Dalia Daniel Daria David Deepa
    Diana Diego Dimitri Dmitri Dora Douglas Edith Eduardo Edward Eileen Elena Elias Elif Eliza Emeka Emil Emma Enrique
    Erik Esther Eva Fatima Felix Fernando Fiona Flora Florence Francesca Frank Frida Gabriel Gareth George Gerda Giulia
    Gloria Grace Greta Gustav Hana Hannah Harold Harriet Hassan Hector Helen Henry Hideo Hilda Hiroshi Hugo Ibrahim Ida
    Ignacio Igor Ines Ingrid Irene Iris Isabel Ivan Jack Jacob James Jan Jana Jane Javier Jean Jens Joan Johan Jonas
    Jorge José Joseph Judith Julia Kaito Karen Karim Karl Katarina Keiko Kenji Kofi Lars Laura Leila Lena Leo Leonard
    Lidia Lina Linda Louis Lucia Ludwig Luis Magda Malik Marco Margaret Maria Mario Marta Martin Mary Matilda Maya Mei
    Mercedes Michael Milan Miriam Mohammed Mona Nadia Naomi Natalia Nina Noah Nora Olga Oliver Omar Oscar Otto Paolo
    Patricia Patrick Paul Pedro Peter Philip Piotr Priya Rachel Rafael Ravi Rebecca René Ricardo Richard Rita Robert
    Rosa Ruth Salma Samuel Sandra Sara Sergei Simon Sofia Stella Stephen Susan Sven Tamara Tariq Teresa Theo Thomas Uma
    Ursula Valentina Vera Victor Vikram Viola Walter Wendy William Yara Yasmin Yuki Yusuf Zahra Zoë
    """
)
"""Given names; two of them make a longer name where a short one is taken."""

FAMILY = _listed(
    """
    Abbott Abe Adams Adeyemi Aguilar Ahmad Allen Almeida Alvarez Andersen Anderson Andrade Armstrong Arnold Aydin Bailey
    Baker Banerjee Barbosa Barker Barnes Barrett Bauer Becker Bell Bennett Berg Bergman Bianchi Bishop Blackwood Blake
    Blanco Bloom Bose Bradley Brennan Brown Bruno Burke Burton Byrne Campbell Campos Cardoso Carlson Carpenter Carter
    Castillo Castro Chandler Chapman Chaudhry Chen Christensen Clark Coleman Collins Conrad Cook Cooper Costa Cox
    Crawford Cruz Cunningham Dahl Daniels Das Davies Dawson Delgado Desai Diaz Dixon Doyle Dubois Duncan Dunn Duran
    Eastwood Eklund Ellis Eriksen Esposito Estrada Evans Farkas Ferrari Ferreira Fischer Fisher Fleming Flores Fontaine
    Forbes Ford Foster Fournier Fox Franklin Fraser Fujita Fuller Gallagher Garcia Gardner Gibson Gomez Gonzalez Gordon
    Graham Grant Gray Greene Griffin Guerrero Gupta Haas Hall Hamilton Hansen Hardy Harper Harris Harvey Hayes Heller
    Hernandez Hill Hoffmann Holloway Holmes Horvath Howard Hughes Hunt Hussain Hutchinson Ibarra Inoue Ito Iyer Jackson
    Jansen Jenkins Jensen Johansson Johnson Jones Joshi Kamau Kapoor Kato Kaya Keller Kelly Kennedy Khan Kim Kimura King
    Klein Knight Koch Kovacs Kowalski Kumar Laine Lambert Lang Larsen Lawson Lee Lehmann Leone Lewis Lindgren Lombardi
    Long Lopez Lowe Lund Macdonald Malik Marino Marsh Martinez Mason Matsumoto Maurer Mbeki McCarthy Mehta Mendez Meyer
    Miller Mills Mitchell Moreau Moreno Morgan Mori Morris Müller Murphy Murray Nair Nakamura Navarro Nelson Newman
    Nguyen Nielsen Novak Nowak Nunes O'Brien Obi Ochoa Okafor Oliveira Olsen Ortega Ortiz Osborne Owens Ozturk Palmer
    Park Parker Patel Pearson Pereira Perez Petersen Petrov Phillips Pinto Popov Porter Powell Price Quinn Rahman Ramos
    Rao Reed Reyes Rhodes Ricci Richter Riley Rivera Roberts Robinson Rodriguez Rogers Romano Rossi Rousseau Rowe Russo
    Ryan Saito Salazar Sanchez Sanders Santos Sato Schmidt Schneider Scott Sharma Shaw Silva Simpson Singh Smith Soto
    Spencer Stein Stevens Stewart Stone Strand Suarez Sullivan Suzuki Svensson Swan Tanaka Taylor Thompson Torres Tran
    Turner Underwood Valdez Vargas Vasquez Vega Visser Vogel Wagner Walker Walsh Wang Ward Watanabe Watson Weaver Weber
    Wells West Wheeler White Wilson Winter Wolf Wong Wood Wright Wu Yamamoto Yilmaz Young Zapata Zhang Ziegler Zimmer
    """
)
"""Family names."""

CITIES: tuple[tuple[str, str], ...] = tuple(
    (city.strip(), country)
    for country, cities in (
        line.strip().split(": ")
        for line in """
        England: London, Manchester, Birmingham, Liverpool, Leeds, Bristol, Sheffield, Oxford, York, Brighton
        United States: New York, Chicago, Los Angeles, Boston, Philadelphia, Detroit, Seattle, Atlanta, Denver, Houston
        Scotland: Glasgow, Edinburgh, Aberdeen, Dundee, Inverness
        Ireland: Dublin, Cork, Galway, Limerick
        Wales: Cardiff, Swansea
        France: Paris, Lyon, Marseille, Bordeaux, Toulouse, Nantes
        Germany: Berlin, Hamburg, Munich, Cologne, Leipzig, Dresden
        Italy: Rome, Milan, Naples, Turin, Florence, Venice
        Canada: Toronto, Montreal, Vancouver, Ottawa, Halifax
        Australia: Sydney, Melbourne, Brisbane, Perth, Adelaide
        India: Mumbai, Delhi, Kolkata, Chennai, Bangalore, Hyderabad, Pune
        Spain: Madrid, Barcelona, Seville, Valencia, Bilbao
        Japan: Tokyo, Osaka, Kyoto, Nagoya, Sapporo, Kobe
        Brazil: São Paulo, Salvador, Recife, Fortaleza
        Mexico: Guadalajara, Monterrey, Puebla
        Poland: Warsaw, Kraków, Gdańsk, Poznań
        Sweden: Stockholm, Gothenburg, Uppsala
        Norway: Oslo, Bergen, Trondheim
        Denmark: Copenhagen, Aarhus, Odense
        Finland: Helsinki, Tampere, Turku
        Netherlands: Amsterdam, Rotterdam, Utrecht
        Belgium: Brussels, Antwerp, Ghent
        Switzerland: Zürich, Geneva, Basel
        Austria: Vienna, Graz, Salzburg
        Portugal: Lisbon, Porto, Coimbra
        Greece: Athens, Thessaloniki, Patras
        Turkey: Istanbul, Ankara, Izmir
        Russia: Moscow, Kazan, Omsk
        Hungary: Budapest, Debrecen
        Romania: Bucharest, Cluj
        Bulgaria: Sofia, Plovdiv
        Croatia: Zagreb, Split
        China: Beijing, Shanghai, Nanjing, Wuhan, Chengdu
        South Korea: Seoul, Busan, Incheon
        Vietnam: Hanoi, Hue
        Thailand: Bangkok
        Indonesia: Jakarta, Bandung
        Philippines: Manila, Davao
        Pakistan: Lahore, Karachi
        Bangladesh: Dhaka
        Iran: Tehran, Shiraz, Isfahan
        Iraq: Baghdad, Basra
        Egypt: Cairo, Alexandria
        Morocco: Casablanca, Fez
        Nigeria: Lagos, Ibadan, Kano
        Ghana: Accra, Kumasi
        Kenya: Nairobi, Mombasa
        Ethiopia: Addis Ababa
        South Africa: Johannesburg, Durban, Cape Town
        Argentina: Buenos Aires, Rosario
        Chile: Santiago, Valparaíso
        Peru: Lima, Arequipa
        Colombia: Bogotá, Medellín, Cali
        Cuba: Havana
        Uruguay: Montevideo
        New Zealand: Auckland, Wellington, Dunedin
        """.strip().splitlines()
    )
    for city in cities.split(",")
)
"""Cities with their countries."""

PROFESSIONS = _listed(
    """
    teacher, painter, engineer, nurse, journalist, lawyer, architect, novelist, carpenter, chemist, photographer,
    surgeon, botanist, violinist, farmer, sculptor, economist, historian, pilot, translator, geologist, baker, editor,
    pharmacist, librarian, astronomer, dentist, goalkeeper, publisher, composer, mathematician, plumber, midwife,
    physicist, gardener, potter, actor, sailor, biologist, electrician, cartoonist, banker, zoologist, dancer, surveyor,
    tailor, philosopher, fisherman, radio presenter, psychologist, bookbinder, chess player, glazier, opera singer,
    statistician, watchmaker, umpire, veterinarian, illustrator, blacksmith, linguist, miner, organist, poet, roofer,
    swimmer, typographer, usher, weaver, archaeologist, brewer, cellist, diplomat, embroiderer, forester, goldsmith,
    innkeeper, judge, locksmith, meteorologist, notary, optician, printer, quarryman, racing cyclist, shepherd,
    tax adviser, film director
    """,
    ",",
)
"""Professions."""

EMPLOYERS = _listed(
    """
    Northgate Rail, Halden Shipping, the Meridian Institute, Blue Anchor Press, Corvane Motors, Larkspur Foods,
    the Ashdown Trust, Quill and Sons, Redwater Mining, Solvane Energy, Tarn Textiles, Upland Dairy, Vantry Bank,
    Westmark Insurance, Ambleton Hospital, Brightwell Glass, Calder Aviation, Dunmore Steel, Eastline Ferries,
    Fernhill Nurseries, Granary Mills, Harrowby College, Ironbridge Tools, Juniper Records, Kestrel Airways,
    the Lindale Museum, Marlow Optics, Nordlys Film, Orchard Software, Pemberton Paper, Quayside Hotels, Rosen Pharma,
    Silverton Clocks, Thornbury Theatre, Umber Paints, Valmont Perfumes, Wexcombe Water, Yarrow Publishing,
    Zenith Lifts, the Alder Foundation, Beacon Radio, Copperfield Coffee, Delta Bridges, Emberley Tiles, Foxglove Toys,
    Goldfinch Travel, Hollin Furniture, Ivory Coast Cocoa, Jasper Jewellers, Kingfisher Canoes, Lowland Tractors,
    Monsoon Tea, Nettleton Wool, Oakridge Timber, Pinnacle Maps, Riverbend Chemicals, Stonefield Cement, Tidewater Salt,
    Unison Telegraph, Vesper Lamps
    """,
    ",",
)
"""Employers, none of them real."""

SENTENCES: dict[str, tuple[str, ...]] = {
    "birth-place": (
        "{who} was born in {place}.",
        "Born in {place}, {who} grew up in a family of five.",
        "{who} comes from {place}, {country}.",
        "{who} (born {year} in {place}) is {a_profession}.",
        "{who} is a native of {place}.",
        "The birthplace of {who} is {place}.",
        "{who} was born and raised in {place}, {country}.",
        "It was in {place} that {who} was born.",
        "In {year}, {who} was born in {place}.",
        "{place} is the city where {who} was born.",
        "{who} came into the world in {place} in {year}.",
        "{who} hails from {place}.",
    ),
    "birth-year": (
        "{who} was born in {year}.",
        "Born in {year}, {who} was the youngest of three.",
        "The year of birth of {who} is {year}.",
        "{who} came into the world in {year}.",
        "{year} is the year in which {who} was born.",
        "In {year} {who} was born.",
        "{who}, born in {year}, keeps a diary.",
        "The birth of {who} was registered in {year}.",
        "It was {year} when {who} was born.",
        "{who} was a child of the year {year}.",
        "The parents of {who} married a year before the birth in {year}.",
        "{who} belongs to those born in {year}.",
    ),
    "profession": (
        "{who} is {a_profession}.",
        "{who} works as {a_profession}.",
        "By profession {who} is {a_profession}.",
        "{who} earns a living as {a_profession}.",
        "After school {who} trained as {a_profession}.",
        "{who} is known as {a_profession}.",
        "{who} has long been {a_profession}.",
        "{who} became {a_profession} early on.",
        "Friends know {who} as {a_profession}.",
        "{who} made a career as {a_profession}.",
        "As {a_profession}, {who} has won two prizes.",
        "The work of {who} is that of {a_profession}.",
    ),
    "employer": (
        "{who} works for {employer}.",
        "{who} is employed by {employer}.",
        "{who} joined {employer} after school.",
        "The employer of {who} is {employer}.",
        "{who} is on the staff of {employer}.",
        "{who} has a post at {employer}.",
        "{who} has spent most years at {employer}.",
        "{who} is paid by {employer}.",
        "Since leaving university {who} has been with {employer}.",
        "At {employer}, {who} leads a small team.",
        "{who} took a job with {employer}.",
        "Colleagues of {who} at {employer} speak well of the work.",
    ),
    "home": (
        "{who} lives in {home}.",
        "{who} now lives in {home}.",
        "The home of {who} is in {home}.",
        "{who} has settled in {home}.",
        "{who} moved to {home}.",
        "{who} resides in {home}.",
        "{who} has a house in {home}.",
        "Today {who} is based in {home}.",
        "{home} has been home to {who} for years.",
        "{who} keeps a flat in {home}.",
        "For some time {who} has lived in {home}.",
        "{who} is at home in {home}.",
    ),
}
"""The ways of stating each attribute, the plainest first."""

QUESTIONS: dict[str, str] = {
    "birth-place": "Where was {name} born?",
    "birth-year": "When was {name} born?",
    "profession": "What is the profession of {name}?",
    "employer": "Who employs {name}?",
    "home": "Where does {name} live?",
}
"""How each attribute is asked for; the first is the question of CS224N's assignment."""
