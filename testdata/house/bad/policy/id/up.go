package id

import _ "fire/policy"
