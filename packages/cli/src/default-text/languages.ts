import type { Grammar } from './grammar.js';

const german: Grammar = {
  document: ['{s} {s} {s}\n\n{s} {s}', '{s} {s} {s} {s} „{c}“, sagte {p}. {s}'],
  s: [
    'Im Jahr {#1700-1990} wurde {x} in {o} zum ersten Mal erwähnt.',
    '{p} ging langsam durch die Straßen von {o} und dachte an {a}.',
    'Wenn es regnet, bleiben {m} meistens zu Hause, obwohl {a} dort niemanden stört.',
    'Die Untersuchung ergab, dass {m} {#2-80} Prozent mehr Energie verbrauchen als früher.',
    'Außerdem müssen {m} regelmäßig geprüft werden, weil sich {a} ändern kann.',
    '{x} besteht aus Holz, Glas und Stahl und ist {#3-90} Meter hoch.',
    'Niemand wusste genau, warum {x} so lange geschlossen war.',
    'Für das Rezept braucht man {#100-500} g Mehl, zwei Eier, etwas Milch und eine Prise Salz.',
  ].map((text) => text.replace(/^\{(\w)\}/, '{^$1}')),
  c: [
    'Das hätte ich nicht gedacht',
    'Wir müssen morgen früh aufbrechen',
    'Hier ist der Schlüssel zum Keller',
    'Frag lieber noch einmal nach',
  ],
  x: [
    'die alte Mühle',
    'der Bahnhof',
    'das Rathaus',
    'die Brücke über den Fluss',
    'das Museum für Naturkunde',
    'der Leuchtturm',
  ],
  o: ['Leipzig', 'Bremen', 'Graz', 'Basel', 'Lübeck', 'Innsbruck'],
  m: [
    'die Nachbarn',
    'viele Maschinen',
    'die Schülerinnen und Schüler',
    'ältere Geräte',
    'Vögel',
    'die meisten Verträge',
  ],
  a: [
    'das Wetter',
    'die Zukunft der Stadt',
    'der Preis',
    'die Geschichte',
    'das Geräusch im Treppenhaus',
    'die Gesetzgebung',
  ],
  p: ['Frau Krüger', 'Jonas', 'der Bürgermeister', 'Dr. Weiß', 'meine Großmutter'],
};

const french: Grammar = {
  document: ['{s} {s} {s}\n\n{s} {s}', '{s} {s} — {c}, répondit {p}. {s} {s}'],
  s: [
    "En {#1700-1990}, {x} fut construit près de la rivière, à l'endroit où passait l'ancienne route.",
    "Selon {p}, il n'y a aucune raison de s'inquiéter de {a}.",
    'Les habitants du quartier se réunissent chaque {j} pour parler de {a}.',
    "L'été dernier, la température a dépassé {#30-44} degrés pendant {#2-9} jours.",
    "Bien que {x} soit fermé, les visiteurs continuent d'arriver.",
    'On mélange le beurre avec {#50-300} g de sucre, puis on ajoute les œufs un par un.',
    'Cette méthode permet de réduire les coûts de {#5-60} %, mais elle exige plus de temps.',
    "Il pleuvait depuis le matin, et {p} n'avait toujours pas téléphoné.",
  ],
  c: [
    'Je ne sais pas encore',
    "C'est exactement ce que je voulais dire",
    'Nous partirons demain',
    'Vous avez oublié votre parapluie',
  ],
  x: ['le vieux moulin', 'le théâtre municipal', 'le phare', "l'hôpital", 'le pont de pierre'],
  a: ["l'avenir de la région", 'la qualité de l’eau', "l'éducation des enfants", 'la circulation', 'la mémoire'],
  j: ['lundi', 'mercredi', 'samedi', 'dimanche'],
  p: ['Claire', 'le docteur Martin', 'la directrice', 'mon oncle', 'Madame Lefèvre'],
};

const spanish: Grammar = {
  document: ['{s} {s} {s}\n\n{s} {s}', '{s} {s} —{c} —dijo {p}—. {s} {s}'],
  s: [
    'En {#1700-1990} se inauguró {x}, que todavía se puede visitar los domingos.',
    'Según {p}, los precios subieron un {#2-40} % durante el último año.',
    'Aunque hacía frío, los niños jugaban en la plaza hasta que anochecía.',
    'Nadie sabía por qué {x} había permanecido cerrado tanto tiempo.',
    'El equipo ganó por {#1-5} a 0 y pasó a la siguiente ronda.',
    'Para preparar la sopa se necesitan {#2-6} tomates, una cebolla, aceite y un poco de sal.',
    'La mayoría de las plantas de la región florece entre marzo y mayo.',
    '¿Cómo es posible que {a} dependa de tan pocas personas?',
  ],
  c: ['No te preocupes por eso', 'Mañana volveremos más temprano', '¡Qué sorpresa!', 'Ya te lo había explicado'],
  x: ['el mercado central', 'el puente nuevo', 'el faro', 'el museo de historia', 'el molino'],
  a: ['la economía', 'el clima', 'la educación', 'el futuro de la ciudad'],
  p: ['la profesora', 'don Andrés', 'Lucía', 'el alcalde', 'mi hermana'],
};

const italian: Grammar = {
  document: ['{s} {s} {s} {s}'],
  s: [
    'Nel {#1500-1900} la città contava circa {#2-60}.000 abitanti e un porto molto frequentato.',
    'Il professore spiegò che {a} non si può misurare con un solo strumento.',
    'Quando arrivò la primavera, {p} decise di tornare in campagna.',
    'La biblioteca è aperta dal lunedì al venerdì, dalle {#8-10} alle {#16-20}.',
    'Si aggiungono il sale, un cucchiaio d’olio e {#100-400} g di farina.',
  ],
  a: ['la pressione', 'la felicità', 'la qualità dell’aria', 'il tempo'],
  p: ['Giulia', 'il vecchio pescatore', 'la famiglia', 'Marco'],
};

const portuguese: Grammar = {
  document: ['{s} {s} {s} {s}'],
  s: [
    'O rio nasce nas montanhas e percorre {#100-900} quilómetros até chegar ao mar.',
    'Em {#1700-1990}, {p} publicou um livro sobre as plantas da região.',
    'As crianças não queriam ir embora, porque ainda havia música na praça.',
    'A empresa anunciou que vai contratar {#20-900} pessoas até ao fim do ano.',
    'É preciso esperar {#5-40} minutos antes de abrir o forno.',
  ],
  p: ['uma jovem médica', 'o padre António', 'a escritora', 'um engenheiro'],
};

const russian: Grammar = {
  document: ['{s} {s} {s} {s}'],
  s: [
    'В {#1700-1990} году здесь построили новую библиотеку.',
    'Вечером пошёл дождь, и {p} решил остаться дома.',
    'Учёные считают, что температура воды повысилась на {#2-9} градуса.',
    'Этот город находится недалеко от моря и известен своими мостами.',
    '— Вы давно здесь живёте? — спросил {p}.',
    'Поезд отправляется в {#6-11} часов утра со второй платформы.',
  ],
  p: ['старый учитель', 'мой брат', 'Иван Петрович', 'доктор'],
};

const chinese: Grammar = {
  document: ['{s}{s}{s}{s}'],
  s: [
    '{#1900-2020}年,这座城市只有{#2-60}万人口。',
    '{p}每天早上六点起床,然后去河边散步。',
    '研究表明,这种材料比玻璃更轻,也更坚固。',
    '如果明天下雨,我们就不去爬山了。',
    '请把书放在桌子上,谢谢。',
    '这家饭馆的面条很好吃,价格也不贵。',
  ],
  p: ['王老师', '我的朋友', '那位医生', '小李'],
};

const japanese: Grammar = {
  document: ['{s}{s}{s}{s}'],
  s: [
    '{#1900-2020}年に新しい図書館が建てられました。',
    '{p}は毎朝、駅まで歩いて行きます。',
    'この川の水はとても冷たいので、泳ぐことはできません。',
    '明日は雨が降るかもしれません。',
    'すみません、切符はどこで買えますか。',
    '実験の結果、温度が{#2-40}度上がることが分かりました。',
  ],
  p: ['田中さん', '私の姉', '先生', '隣の人'],
};

/** Grammars of languages other than English; those with more text on the web are listed more than once. */
export const languages: readonly Grammar[] = [
  german,
  french,
  spanish,
  german,
  french,
  spanish,
  italian,
  portuguese,
  russian,
  chinese,
  japanese,
];
