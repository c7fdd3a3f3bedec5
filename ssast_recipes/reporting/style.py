"""The page's looks: light and dark, wide and narrow, without anything from elsewhere."""

# Ten colours that stay apart on white and on black; after Okabe and Ito, and Tol.
_LIGHT = "#0072b2 #d55e00 #009e73 #c2408f #b8860b #3aa0d8 #6a3d9a #7a5c3e #8a9a1b #d1495b"
_DARK = "#4ea8de #ff8c42 #3ddbb0 #f08cc6 #f2c14e #9bd7f7 #b79be0 #c4a484 #c7d64f #ff8fa3"


def _palette(colours: str) -> str:
    return "".join(f"--c{number}:{value};" for number, value in enumerate(colours.split()))


_USES = "".join(f".c{number}{{--own:var(--c{number})}}" for number in range(10))

STYLE = (
    f":root{{color-scheme:light dark;{_palette(_LIGHT)}"
    "--text:#1c2024;--quiet:#5b6470;--ground:#f6f7f9;--card:#fff;--edge:#dfe3e8;--grid:#e9ecf0;"
    "--accent:#0072b2;--share-ink:#0072b2}"
    f"@media(prefers-color-scheme:dark){{:root{{{_palette(_DARK)}"
    "--text:#e6e9ed;--quiet:#9aa4b1;--ground:#14171b;--card:#1c2026;--edge:#323942;--grid:#2a3038;"
    "--accent:#4ea8de;--share-ink:#2474a6}}"
    f"{_USES}.grey{{--own:#9aa0a8}}"
    """
*{box-sizing:border-box}
body{margin:0 auto;max-width:78rem;padding:1.5rem clamp(1rem,4vw,3rem) 4rem;
 font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
 color:var(--text);background:var(--ground);overflow-wrap:break-word}
h1{font-size:clamp(1.5rem,4vw,2.1rem);line-height:1.2;margin:.1rem 0 .8rem}
h2{font-size:1.3rem;margin:2.6rem 0 .9rem;scroll-margin-top:1rem}
h3{font-size:1rem;margin:0 0 .5rem}
p{margin:.3rem 0 .8rem;max-width:62rem}
a{color:var(--accent)}
nav{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;padding:.6rem 0;
 border-block:1px solid var(--edge)}
nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
footer,.quiet{color:var(--quiet);font-size:.9rem}
footer{margin-top:3rem}
.note{padding:.8rem 1rem;border-left:4px solid var(--c1);background:var(--card);border-radius:4px}
.tiles{display:flex;flex-wrap:wrap;gap:1rem;margin-bottom:.8rem}
.tiles>div,.card,figure,.scroll{background:var(--card);border:1px solid var(--edge);
 border-radius:8px}
.tiles>div{padding:.8rem 1.2rem;min-width:11rem}
.number{display:block;font-size:1.9rem;font-weight:600;line-height:1.2;
 font-variant-numeric:tabular-nums}
.name{color:var(--quiet);font-size:.9rem}
.grid{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr))}
.pair{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,26rem),1fr))}
.beside{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));
 align-items:start}
figure{margin:0 0 1rem;padding:.8rem}
.grid figure,.pair figure{margin:0}
figure.chart{display:flex;flex-direction:column-reverse;justify-content:flex-end}
figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:.2rem 1rem;
 margin-bottom:.4rem}
figure.picture figcaption{margin:.4rem 0 0;color:var(--quiet);font-size:.9rem}
.legend{display:flex;flex-wrap:wrap;gap:.1rem .9rem;font-size:.85rem;color:var(--quiet)}
.key::before{content:"";display:inline-block;width:.75em;height:.75em;border-radius:50%;
 margin-right:.35em;background:var(--own)}
svg,img{display:block;width:100%;height:auto}
figure.picture img{background:#fff;border-radius:4px}
svg text{font-size:12px;fill:var(--quiet);font-family:inherit}
svg .grid{stroke:var(--grid)}
svg .axis{stroke:var(--quiet)}
svg .line{fill:none;stroke:var(--own);stroke-width:2;stroke-linejoin:round}
svg .dot{fill:var(--own)}
svg .point{fill:var(--own);fill-opacity:.85;stroke:var(--card)}
.scroll{overflow-x:auto;padding:.8rem 1rem;margin-bottom:1rem}
table{border-collapse:collapse;width:100%;font-size:.92rem}
caption{text-align:left;color:var(--quiet);padding-bottom:.5rem}
th,td{padding:.28rem .8rem .28rem 0;text-align:left;vertical-align:top;
 border-top:1px solid var(--grid)}
thead th{border-top:0;color:var(--quiet);font-weight:600}
tbody th{font-weight:500}
td{font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.track{min-width:7rem;height:.8em;margin-top:.35em;background:var(--grid);border-radius:3px}
.bar{display:block;height:100%;background:var(--accent);border-radius:3px}
.matrix{width:auto}
.matrix th,.matrix td{padding:.2rem .35rem;border:0}
.matrix td{text-align:center;min-width:2rem;border:1px solid var(--card);
 background:color-mix(in srgb,var(--share-ink) calc(100% * var(--share,0)),var(--grid))}
.matrix td.dark{color:#fff}
.matrix td.own{outline:1px solid var(--quiet);outline-offset:-2px}
.matrix tbody th{text-align:right;white-space:nowrap}
.dense{font-size:.66rem;line-height:1.25}
.dense th,.dense td{padding:.05rem .15rem}
.dense td{min-width:1.1rem}
.dense caption{font-size:.92rem}
.turned{height:8rem;vertical-align:bottom}
.turned span{writing-mode:vertical-rl;transform:rotate(180deg);white-space:nowrap}
.card{padding:.9rem}
.card audio{width:100%;margin:.5rem 0}
dl{display:grid;grid-template-columns:auto 1fr;gap:.1rem .9rem;margin:.3rem 0 0;font-size:.92rem}
dt{color:var(--quiet)}
dd{margin:0}
details summary{cursor:pointer;margin:.3rem 0 .8rem}
li{margin:.2rem 0}
@media print{nav,audio{display:none}body{background:none}section{break-inside:avoid-page}}
"""
)
