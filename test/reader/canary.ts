import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A server that nobody should ever ask for anything. */
export type Canary = {
  /** Its origin. */
  readonly origin: string
  /** What was asked for, with the Referer. */
  readonly hits: { readonly url: string; readonly referer: string | undefined }[]
}

export async function openCanary(test: { teardown(act: () => Promise<void>): unknown }): Promise<Canary> {
  const hits: { url: string; referer: string | undefined }[] = []
  const server = createServer((request, response) => {
    hits.push({ url: request.url ?? '', referer: request.headers.referer })
    response.writeHead(200, { 'Content-Type': 'text/html', 'Access-Control-Allow-Origin': '*' }).end('<p>canary</p>')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  test.teardown(async () => {
    server.closeAllConnections()
    await new Promise<void>((resolve) => server.close(() => resolve()))
  })
  const { port } = server.address() as AddressInfo
  return { origin: `http://127.0.0.1:${port}`, hits }
}

/** HTML that tries, in every way we know of, to run a script or to ask `origin` for something. */
export function hostileHtml(origin: string): string {
  const at = (name: string) => `${origin}/${name}`
  return `<!doctype html><html><head><title>x</title><base href="${origin}/">
<meta http-equiv="refresh" content="0;url=${at('refresh')}"><meta http-equiv="Content-Security-Policy" content="default-src *">
<link rel="stylesheet" href="${at('link-css')}"><link rel="prefetch" href="${at('prefetch')}"><link rel="preload" as="image" href="${at('preload')}">
<link rel="dns-prefetch" href="${at('dns')}"><link rel="preconnect" href="${origin}"><link rel="icon" href="${at('icon')}"><link rel="prerender" href="${at('prerender')}">
<style>@import url("${at('import')}"); @import "${at('import2')}"; @font-face{font-family:f;src:url(${at('font')})}
body{background:url(${at('body-bg')});font-family:f} p{background-image:image-set("${at('image-set')}" 1x)} .a::before{content:url(${at('content')})}
#b{--u:url(${at('var')});background:var(--u)} li{list-style-image:url(${at('list')})} a{cursor:url(${at('cursor')}),auto}
.c{background:u\\72l(${at('escaped')})} div{border-image-source:url(${at('border')});mask:url(${at('mask')});filter:url(${at('filter')});shape-outside:url(${at('shape')})}
</style><script>window.top.hacked = 1; fetch('${at('script')}')</script><script src="${at('script-src')}"></script></head>
<body background="${at('body-attr')}" onload="window.top.hacked=2;fetch('${at('onload')}')" style="background:url(${at('body-style')})">
<p class="a" id="b" style="background:url('${at('style')}');list-style:url(${at('style-list')})">Visible text</p><div class="c">c</div>
<img src="${at('img')}" alt="picture"><img src="${at('pixel')}" width="1" height="1"><img srcset="${at('srcset')} 1x"><img src="x" onerror="window.top.hacked=3;fetch('${at('onerror')}')">
<img src="//${origin.slice(7)}/scheme"><img src="/relative"><img lowsrc="${at('lowsrc')}" dynsrc="${at('dynsrc')}" longdesc="${at('longdesc')}">
<picture><source srcset="${at('source')}"><img src="${at('picture')}"></picture><video src="${at('video')}" poster="${at('poster')}" autoplay></video>
<audio src="${at('audio')}" autoplay></audio><track src="${at('track')}"><iframe src="${at('iframe')}"></iframe><iframe srcdoc="<img src='${at('srcdoc')}'>"></iframe>
<object data="${at('object')}"></object><embed src="${at('embed')}"><frameset><frame src="${at('frame')}"></frameset><applet code="${at('applet')}"></applet>
<table background="${at('table')}"><tr><td background="${at('td')}">cell</td></tr></table>
<svg><image href="${at('svg-image')}" xlink:href="${at('svg-xlink')}"/><use href="${at('svg-use')}#x"/><script>window.top.hacked=4</script><style>*{background:url(${at('svg-style')})}</style><a xlink:href="javascript:alert(1)"><text y="9">svg</text></a></svg>
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=window.top.hacked=5&gt;"></mglyph></table></mtext></math>
<form action="${at('form')}" method="post"><input name="secret" value="x" autofocus onfocus="window.top.hacked=6"><input type="image" src="${at('input-image')}"><button formaction="${at('formaction')}">Send</button></form>
<a id="js" href="javascript:window.top.hacked=7">js link</a><a href="data:text/html,<script>alert(1)</script>">data link</a><a href="${at('clicked')}" ping="${at('ping')}" title="https://bank.example/">good link</a>
<details open ontoggle="window.top.hacked=8"><summary>s</summary></details><template><img src="${at('template')}"></template><noscript><p title="</noscript><img src=x onerror=window.top.hacked=9>"></noscript>
<style>p{color:red}</style><style><img src="${at('style-break')}" onerror="window.top.hacked=10"></style>
<!--[if mso]><img src="${at('mso')}"><![endif]--><marquee onstart="window.top.hacked=11">m</marquee><input type="text" style="background:url(${at('input-style')})">
<blockquote cite="${at('cite')}">q</blockquote><button popovertarget="x" onclick="window.top.hacked=12">b</button><dialog open>d</dialog></body></html>`
}
