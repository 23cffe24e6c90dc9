// Requests with net/http: go_request BASE_URL GOROUTINES SECONDS. It does and prints what benches/request.c does.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A token in the format of the emulator, as ACCESS_TOKEN of benches/way.h.
const accessToken = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." +
	"eyJleHAiOjE3OTU1NjIyNzUsImlhdCI6MTc5NTU1ODY3NSwianRpIjoiNzYwOTFmYzYtNDM3ZS00OTUyLTllYmYtNjljOTBiNGVmOGNiIiwic3ViI" +
	"joiZml4ZWQifQ.vbxNfWE4faoXAWHelI4GCPbIfyg7JbXi8CmtQGq2THw"

// The first requests of each goroutine, which connect, do not count.
const first = 20

var client *http.Client

func ask(url string) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	check(err)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Authorization", "Bearer "+accessToken)
	response, err := client.Do(request)
	check(err)
	body, err := io.ReadAll(response.Body)
	check(err)
	check(response.Body.Close())
	if response.StatusCode != http.StatusOK || len(body) == 0 {
		log.Fatal(response.Status)
	}
}

func processorTime() time.Duration {
	var used syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func main() {
	url := os.Args[1] + "/wallet"
	goroutines, err := strconv.Atoi(os.Args[2])
	check(err)
	seconds, err := strconv.ParseFloat(os.Args[3], 64)
	check(err)
	authority, err := os.ReadFile(os.Getenv("PAYMENTSGATE_TLS_CA_FILE"))
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	client = &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: roots},
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: goroutines,
			DisableCompression:  true,
		},
	}

	samples := make([][]float64, goroutines)
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	for i := range goroutines {
		ready.Add(1)
		done.Add(1)
		go func() {
			defer done.Done()
			for range first {
				ask(url)
			}
			samples[i] = make([]float64, 0, 100_000)
			ready.Done()
			<-begin
			began := time.Now()
			for until := began.Add(time.Duration(seconds * float64(time.Second))); began.Before(until); {
				ask(url)
				ended := time.Now()
				samples[i] = append(samples[i], float64(ended.Sub(began).Nanoseconds())/1e3)
				began = ended
			}
		}()
	}
	ready.Wait()
	processor, began := processorTime(), time.Now()
	close(begin)
	done.Wait()
	took := time.Since(began)
	processor = processorTime() - processor
	all := slices.Concat(samples...)
	slices.Sort(all)
	total := float64(len(all))
	fmt.Printf("%.0f %.1f %.1f %.1f\n", total/took.Seconds(), all[len(all)/2], all[len(all)*99/100],
		float64(processor.Microseconds())/total)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
