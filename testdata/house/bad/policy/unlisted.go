package policy

import _ "fire/policy/nowhere"
