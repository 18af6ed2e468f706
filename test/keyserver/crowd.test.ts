import t from 'tap'
import { createCrowd } from '../../keyserver/crowd.ts'

t.test('gateways that call at the same time are a crowd until all but one are silent', (t) => {
  const crowd = createCrowd()
  t.equal(crowd.calls('one', 0), false)
  t.equal(crowd.calls('one', 50), false, 'nobody is a crowd alone')
  t.equal(crowd.calls('other', 60), true)
  t.equal(crowd.calls('one', 160), true)
  t.equal(crowd.calls('one', 170), false, 'the other is silent')
  t.end()
})
